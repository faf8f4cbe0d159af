//! Jobs over HTTP: lists of them, and removing one.

use crate::broker::{TestBroker, completed};
use crate::client::Client;

#[test]
fn a_list_is_filtered_and_paged_without_gap_or_double() {
    let broker = TestBroker::start("");
    for n in 0..7 {
        let team = if n % 2 == 0 { "a b" } else { "c" };
        let writer = broker
            .open(&format!(r#"{{"model":"echo","input":"x","id":"j{n}","metadata":{{"team":"{team}","n":{n}}}}}"#));
        if n < 3 {
            broker.append(writer.stream(), vec![completed()]);
        }
    }
    let mut client = Client::connect(broker.addr);
    let mut ids = |query: &str| -> Vec<String> {
        let (mut ids, mut after) = (Vec::new(), String::new());
        loop {
            let page = client.get(&format!("/v1/jobs?{query}&after={after}")).json();
            ids.extend(page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => return ids,
            }
        }
    };
    let all = ["j6", "j5", "j4", "j3", "j2", "j1", "j0"];
    for limit in [1, 2, 3, 7, 100] {
        assert_eq!(ids(&format!("limit={limit}")), all, "pages of {limit}");
    }
    assert_eq!(ids("state=completed&limit=1"), ["j2", "j1", "j0"]);
    assert_eq!(ids("tag.team=a+b&limit=2"), ["j6", "j4", "j2", "j0"]);
    assert_eq!(ids("tag.team=a%20b&tag.n=4"), ["j4"]);
    assert_eq!(ids("tag.nobody=1"), Vec::<String>::new());
    let after = client.get("/v1/jobs?after=j5&limit=1").json();
    assert_eq!(after["jobs"][0]["id"], "j4", "a job's id is a place, too");
}

#[test]
fn a_finished_job_can_be_forgotten_and_a_running_one_cannot() {
    let broker = TestBroker::start("");
    let writer = broker.open(r#"{"model":"echo","input":"x","id":"j"}"#);
    let mut client = Client::connect(broker.addr);
    assert_eq!(client.ask("DELETE", "/v1/jobs/j", &[], b"").error().1, "conflict");
    broker.append(writer.stream(), vec![completed()]);
    assert_eq!(client.ask("DELETE", "/v1/jobs/j", &[], b"").json()["deleted"], true);
    assert_eq!(client.ask("DELETE", "/v1/jobs/j", &[], b"").status, 404);
}
