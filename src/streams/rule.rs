//! The rules by which an append is taken or refused.
//!
//! Owns the order in which they apply: a producer's epoch, the end, the content type, a producer's number, the sequence.
//! Pure.

use super::row::{Head, Mark, Seen};
use crate::dialect::durable_streams;
use crate::dialect::durable_streams::Producer;

/// A request to append, beside its content.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Append {
    /// The content type of the request; `None` where there is no content.
    pub content_type: Option<Box<str>>,
    /// Whether the append closes the stream.
    pub closes: bool,
    /// The `Stream-Seq` of the request.
    pub seq: Option<Box<str>>,
    /// The producer that appends.
    pub producer: Option<Producer>,
}

/// The reason why an append is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The producer has a newer epoch.
    Fenced {
        /// The producer's current epoch.
        epoch: u64,
    },
    /// A producer's new epoch must begin at 0.
    NotFirst,
    /// Appends of the producer are missing.
    Gap {
        /// The number that must come next.
        expected: u64,
        /// The number that the request has.
        received: u64,
    },
    /// The stream is closed.
    Closed,
    /// The stream holds another content type.
    OtherType,
    /// The `Stream-Seq` does not come after the last one.
    OldSeq,
}

/// The decision on an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The append is taken.
    Taken,
    /// The append was taken before; the producer's highest number, where one appends.
    Known(Option<u64>),
}

/// Decides on an append to a stream that has come to `mark`, by a producer last seen at `seen`.
pub(super) fn judge(head: &Head, mark: &Mark, seen: Option<Seen>, append: &Append) -> Result<Verdict, Refused> {
    let producer = append.producer.as_ref();
    if let (Some(producer), Some(seen)) = (producer, seen)
        && producer.epoch < seen.epoch
    {
        return Err(Refused::Fenced { epoch: seen.epoch });
    }
    if mark.closed {
        return match producer {
            Some(producer) if mark.closed_by.as_ref() == Some(producer) => Ok(Verdict::Known(Some(producer.seq))),
            None if append.closes && append.content_type.is_none() => Ok(Verdict::Known(None)),
            _ => Err(Refused::Closed),
        };
    }
    if let Some(content_type) = &append.content_type
        && !durable_streams::same_type(content_type, &head.content_type)
    {
        return Err(Refused::OtherType);
    }
    if let Some(producer) = producer {
        match seen {
            Some(seen) if producer.epoch > seen.epoch && producer.seq > 0 => return Err(Refused::NotFirst),
            Some(seen) if producer.epoch == seen.epoch && producer.seq <= seen.seq => {
                return Ok(Verdict::Known(Some(seen.seq)));
            }
            _ => {}
        }
        let expected = seen.filter(|seen| seen.epoch == producer.epoch).map_or(0, |seen| seen.seq + 1);
        if producer.seq != expected {
            return Err(Refused::Gap { expected, received: producer.seq });
        }
    }
    if let (Some(seq), Some(last)) = (&append.seq, &mark.seq)
        && seq.as_bytes() <= last.as_bytes()
    {
        return Err(Refused::OldSeq);
    }
    Ok(Verdict::Taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::durable_streams::Lifetime;
    use crate::job::{StreamId, Timestamp};

    fn check(mark: &Mark, seen: Option<(u64, u64)>, append: &Append, expected: Result<Verdict, Refused>) {
        let (content_type, lifetime) = ("text/plain".into(), Lifetime::Unlimited);
        let head = Head { id: StreamId([0; 16]), content_type, lifetime, created_at: Timestamp(0) };
        let seen = seen.map(|(epoch, seq)| Seen { epoch, seq });
        assert_eq!(judge(&head, mark, seen, append), expected, "{mark:?} {seen:?} {append:?}");
    }

    fn by(epoch: u64, seq: u64) -> Append {
        let producer = Some(Producer { id: "p".into(), epoch, seq });
        Append { content_type: Some("Text/Plain; charset=utf-8".into()), producer, ..Append::default() }
    }

    #[test]
    fn a_producer_appends_each_number_once_in_its_newest_life() {
        let open = Mark::default();
        for (seen, append, expected) in [
            (None, by(0, 0), Ok(Verdict::Taken)),
            (None, by(5, 0), Ok(Verdict::Taken)),
            (None, by(0, 1), Err(Refused::Gap { expected: 0, received: 1 })),
            (Some((1, 4)), by(1, 5), Ok(Verdict::Taken)),
            (Some((1, 4)), by(1, 4), Ok(Verdict::Known(Some(4)))),
            (Some((1, 4)), by(1, 0), Ok(Verdict::Known(Some(4)))),
            (Some((1, 4)), by(1, 6), Err(Refused::Gap { expected: 5, received: 6 })),
            (Some((1, 4)), by(0, 5), Err(Refused::Fenced { epoch: 1 })),
            (Some((1, 4)), by(2, 0), Ok(Verdict::Taken)),
            (Some((1, 4)), by(2, 1), Err(Refused::NotFirst)),
        ] {
            check(&open, seen, &append, expected);
        }
    }

    #[test]
    fn after_the_end_only_the_end_is_known() {
        let closed_by = Some(Producer { id: "p".into(), epoch: 1, seq: 4 });
        let closed = Mark { closed: true, closed_by, ..Mark::default() };
        let close = Append { closes: true, ..Append::default() };
        let other_type = Append { content_type: Some("text/html".into()), ..Append::default() };
        for (seen, append, expected) in [
            (None, close.clone(), Ok(Verdict::Known(None))),
            (None, other_type, Err(Refused::Closed)),
            (Some((1, 4)), by(1, 4), Ok(Verdict::Known(Some(4)))),
            (Some((1, 4)), by(1, 3), Err(Refused::Closed)),
            (Some((1, 4)), by(0, 9), Err(Refused::Fenced { epoch: 1 })),
            (None, Append { content_type: Some("text/plain".into()), ..close }, Err(Refused::Closed)),
        ] {
            check(&closed, seen, &append, expected);
        }
    }

    #[test]
    fn a_sequence_goes_up_byte_by_byte() {
        for (last, seq, expected) in [
            ("2", "10", Err(Refused::OldSeq)),
            ("09", "10", Ok(Verdict::Taken)),
            ("a", "a", Err(Refused::OldSeq)),
            ("B", "a", Ok(Verdict::Taken)),
        ] {
            let mark = Mark { seq: Some(last.into()), ..Mark::default() };
            check(&mark, None, &Append { seq: Some(seq.into()), ..Append::default() }, expected);
        }
        let other = Append { content_type: Some("text/html".into()), seq: Some("0".into()), ..Append::default() };
        let mark = Mark { seq: Some("1".into()), ..Mark::default() };
        check(&mark, None, &other, Err(Refused::OtherType));
    }
}
