//! Whether a path matches a route's pattern, and which values its parameters have. Pure, without allocation.
//!
//! `{name}` is one segment, `{name...}` the rest of the path. At the end of a pattern a parameter is not
//! empty, unless its name has a `*`; a rest that may be empty needs no slash before it either. Values are
//! percent-encoded, as they were sent.

use crate::http::context::Params;

/// The parameters of `path`, if it matches `pattern`.
pub(super) fn matches<'a>(mut pattern: &str, mut path: &'a str) -> Option<Params<'a>> {
    // Most patterns differ in their first byte: they are left at once.
    if let (Some(ours), Some(theirs)) = (pattern.as_bytes().first(), path.as_bytes().first())
        && ours != theirs
        && *ours != b'{'
    {
        return None;
    }
    let (mut params, mut count) = (Params::default(), 0);
    loop {
        let same = pattern.bytes().zip(path.bytes()).take_while(|(ours, theirs)| ours == theirs && *ours != b'{');
        let same = same.count();
        (pattern, path) = (&pattern[same..], &path[same..]);
        if path.is_empty() && pattern.starts_with("/{") && pattern.ends_with("*...}") {
            pattern = &pattern[1..];
        }
        let Some((name, after)) = pattern.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            return (pattern.is_empty() && path.is_empty()).then_some(params);
        };
        let (name, is_rest) = name.strip_suffix("...").map_or((name, false), |name| (name, true));
        let end = if is_rest { path.len() } else { path.find('/').unwrap_or(path.len()) };
        if end == 0 && after.is_empty() && !name.ends_with('*') {
            return None;
        }
        *params.get_mut(count)? = &path[..end];
        (pattern, path, count) = (after, &path[end..], count + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_paths_and_gives_their_parameters() {
        for (pattern, path, expected) in [
            ("/v1/jobs", "/v1/jobs", Some(["", ""])),
            ("/v1/jobs", "/v1/jobs/", None),
            ("/v1/jobs", "/v1/job", None),
            ("/v1/jobs/{id}", "/v1/jobs/a", Some(["a", ""])),
            ("/v1/jobs/{id}", "/v1/jobs/", None),
            ("/v1/jobs/{id}", "/v1/jobs/a/", None),
            ("/v1/jobs/{id}", "/v1/jobs/{id}", Some(["{id}", ""])),
            ("/v1/jobs/{id}/cancel", "/v1/jobs/ü/cancel", Some(["ü", ""])),
            ("/v1/jobs/{id}/cancel", "/v1/jobs//cancel", Some(["", ""])),
            ("/v1/jobs/{id}/outputs/{index*}", "/v1/jobs/a/outputs/3", Some(["a", "3"])),
            ("/v1/jobs/{id}/outputs/{index*}", "/v1/jobs/a/outputs/", Some(["a", ""])),
            ("/v1/jobs/{id}/outputs/{index*}", "/v1/jobs/a/outputs", None),
            ("/v1/run/{model...}", "/v1/run/@cf/meta/llama", Some(["@cf/meta/llama", ""])),
            ("/v1/run/{model...}", "/v1/run/", None),
            ("/v1/run/{model...}", "/v1/run", None),
            ("/v1/stream/jobs/{id*...}", "/v1/stream/jobs", Some(["", ""])),
            ("/v1/stream/jobs/{id*...}", "/v1/stream/jobs/", Some(["", ""])),
            ("/v1/stream/jobs/{id*...}", "/v1/stream/jobs/a/b", Some(["a/b", ""])),
            ("/v1/stream/jobs/{id*...}", "/v1/stream/jobsite", None),
            ("/{a}/{b}/{c}", "/1/2/3", None),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
