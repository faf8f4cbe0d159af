//! Query strings and percent-encoding. Pure.

use std::borrow::Cow;

use crate::job::{Code, Failure};

/// The pairs of a query, decoded.
#[derive(Debug)]
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub(super) fn parse(query: Option<&'a str>) -> Query<'a> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &'a str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        };
        Query(pairs.map(pair).collect())
    }

    /// All pairs, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Returns the value of `name`.
    ///
    /// # Errors
    /// `code`, naming it, when it is given twice.
    pub(super) fn one(&self, name: &str, code: Code) -> Result<Option<&str>, Failure> {
        let mut values = self.pairs().filter(|(key, _)| *key == name).map(|(_, value)| value);
        let first = values.next();
        if values.next().is_some() {
            return Err(Failure::new(code, format!("{name}: is given twice")).with_param(name));
        }
        Ok(first)
    }

    /// # Errors
    /// `invalid`, naming the first parameter that `known` does not know.
    pub(super) fn only(&self, known: impl Fn(&str) -> bool) -> Result<(), Failure> {
        match self.pairs().find(|(key, _)| !known(key)) {
            Some((key, _)) => {
                let cut = &key[..key.floor_char_boundary(64)];
                Err(Failure::invalid(cut, "is not a parameter of this route"))
            }
            None => Ok(()),
        }
    }
}

/// Text without its percent-encoding. What is not an encoding stays as it is, and what is not UTF-8
/// becomes U+FFFD, as in every browser; the reader of the value refuses both.
pub(super) fn decode(text: &str, plus_is_blank: bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || (plus_is_blank && byte == b'+')) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits"));
                at += 2;
            }
            (b'+', ..) if plus_is_blank => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_nothing_else() {
        for (text, meant) in [
            ("plain", "plain"),
            ("a%20b+c", "a b c"),
            ("%C3%BC", "ü"),
            ("%", "%"),
            ("%2", "%2"),
            ("%zz", "%zz"),
            ("%ff", "\u{fffd}"),
            ("%00", "\0"),
        ] {
            assert_eq!(decode(text, true), meant, "{text}");
        }
        assert_eq!(decode("a+b", false), "a+b");
    }

    #[test]
    fn a_parameter_is_given_once_or_not_at_all() {
        let query = Query::parse(Some("a=1&&b=%32&b=3&c"));
        assert_eq!(query.one("a", Code::Invalid).unwrap(), Some("1"));
        assert_eq!(query.one("c", Code::Invalid).unwrap(), Some(""));
        assert_eq!(query.one("d", Code::Invalid).unwrap(), None);
        assert_eq!(query.one("b", Code::BadCursor).unwrap_err().code, Code::BadCursor);
        assert_eq!(query.only(|key| key == "a").unwrap_err().param.as_deref(), Some("b"));
    }
}
