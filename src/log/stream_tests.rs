//! What a stream promises to the log that writes it.

use super::*;
use crate::wire::submit::{Entrance, from_json};

#[test]
fn nothing_follows_a_beginning_that_could_not_be_written() {
    let said = from_json(br#"{"model":"m","input":"x"}"#).unwrap();
    let job = said.into_job(&Entrance::default(), Timestamp(0)).unwrap();
    let stream = Stream::new(Head::new(StreamId::generate(), &job), Epoch(1), 0, None);
    assert_eq!(stream.reserve(1).unwrap(), 0);
    assert_eq!(stream.reserve(2).unwrap(), 1);
    stream.unreserve(1);
    assert_eq!(stream.reserve(1).unwrap(), 1);
    stream.fail_creation();
    assert_eq!((stream.tail().durable, stream.tail().failures), (0, 1));
    assert!(stream.reserve(1).is_err(), "a later record would be the first");
}
