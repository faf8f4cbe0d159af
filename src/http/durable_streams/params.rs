//! The query parameters of a reader of a durable stream.

use crate::http::query::Query;
use crate::job::{Code, Failure};
use crate::wire::Cursor;

/// How a reader wants to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Read what is there.
    CatchUp,
    /// Wait until there is something.
    LongPoll,
    /// Read events until the stream ends.
    Events,
}

/// Parameters of the query.
pub(super) struct ReadParams {
    pub(super) offset: Option<Cursor>,
    pub(super) mode: Mode,
    /// The `Stream-Cursor` that the reader sent.
    pub(super) cursor: Option<Box<str>>,
}

impl ReadParams {
    /// Other parameters are not ours to refuse: the protocol lets them pass.
    pub(super) fn of(query: Option<&str>) -> Result<ReadParams, Failure> {
        let query = Query::parse(query);
        let offset = query.one("offset", Code::Invalid)?;
        let wrong = |_| Failure::invalid("offset", "must be -1, now, or one that this broker gave");
        let offset = offset.map(|offset| offset.parse::<Cursor>().map_err(wrong)).transpose()?;
        let mode = match query.one("live", Code::Invalid)? {
            None => Mode::CatchUp,
            Some("long-poll") => Mode::LongPoll,
            Some("sse") => Mode::Events,
            Some(_) => return Err(Failure::invalid("live", "must be long-poll or sse")),
        };
        if mode != Mode::CatchUp && offset.is_none() {
            return Err(Failure::invalid("offset", "must be there when live is"));
        }
        Ok(ReadParams { offset, mode, cursor: query.one("cursor", Code::Invalid)?.map(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Epoch;

    #[test]
    fn an_address_says_where_and_how_to_read() {
        let of = |query| {
            ReadParams::of(Some(query)).map(|params| (params.offset, params.mode)).map_err(|failure| failure.code)
        };
        let at = Cursor::At { epoch: Epoch(1), seq: 5 };
        for (query, expected) in [
            ("", Ok((None, Mode::CatchUp))),
            ("offset=-1&anything=else", Ok((Some(Cursor::Start), Mode::CatchUp))),
            ("offset=00000001_0000000005&live=sse", Ok((Some(at), Mode::Events))),
            ("offset=now&live=long-poll&cursor=7", Ok((Some(Cursor::Now), Mode::LongPoll))),
            ("live=sse", Err(Code::Invalid)),
            ("live=long-poll", Err(Code::Invalid)),
            ("offset=-1&live=on", Err(Code::Invalid)),
            ("offset=", Err(Code::Invalid)),
            ("offset=a&offset=b", Err(Code::Invalid)),
            ("offset=0%2C1", Err(Code::Invalid)),
            ("offset=00000001_5%00", Err(Code::Invalid)),
            ("offset=../1", Err(Code::Invalid)),
        ] {
            assert_eq!(of(query), expected, "{query}");
        }
    }
}
