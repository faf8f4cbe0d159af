//! `server.cors_origins`: which pages of browsers may use the port.

use super::Server;

/// Text that stands for the pages of every origin.
const ANY: &str = "*";

/// How the configuration treats an `Origin`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// Its pages are not let in.
    No,
    /// The configuration names this origin.
    Named,
    /// Every origin is allowed.
    Any,
}

impl Server {
    /// Whether pages of `origin` may use the port.
    #[must_use]
    pub fn allows(&self, origin: &str) -> Allowed {
        let mut allowed = Allowed::No;
        for known in &self.cors_origins {
            if known.eq_ignore_ascii_case(origin) {
                return Allowed::Named;
            }
            if &**known == ANY {
                allowed = Allowed::Any;
            }
        }
        allowed
    }
}

/// Whether it can be what a browser sends: `https://host`, `http://host:port`, another scheme's
/// (`app://x`), or `null`.
pub(super) fn is_origin(text: &str) -> bool {
    let has_host = |(scheme, host): (&str, &str)| {
        let is_scheme = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        is_scheme
            && !host.is_empty()
            && !host.contains(['/', '?', '#', '@', '*'])
            && host.bytes().all(|b| b.is_ascii_graphic())
    };
    text == ANY || text == "null" || text.split_once("://").is_some_and(has_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_let_in_by_its_own_name_or_with_everybody() {
        for (origins, origin, allowed) in [
            (&[][..], "https://a.example", Allowed::No),
            (&["https://a.example"], "https://a.example", Allowed::Named),
            (&["https://A.example"], "https://a.example", Allowed::Named),
            (&["https://a.example"], "http://a.example", Allowed::No),
            (&["https://a.example"], "https://a.example:8443", Allowed::No),
            (&["https://a.example"], "https://a.example.evil.example", Allowed::No),
            (&["https://a.example"], "null", Allowed::No),
            (&["*"], "null", Allowed::Any),
            (&["*", "https://a.example"], "https://a.example", Allowed::Named),
        ] {
            let cors_origins = origins.iter().copied().map(Box::from).collect();
            let server = Server { cors_origins, ..Server::default() };
            assert_eq!(server.allows(origin), allowed, "{origins:?} {origin}");
        }
    }

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        for (text, is) in [
            ("https://a.example", true),
            ("http://127.0.0.1:3000", true),
            ("http://[::1]:3000", true),
            ("chrome-extension://abcdef", true),
            ("null", true),
            ("*", true),
            ("https://a.example/", false),
            ("https://*.example", false),
            ("a.example", false),
            ("https://", false),
            ("", false),
            ("https://a b", false),
        ] {
            assert_eq!(is_origin(text), is, "{text}");
        }
    }
}
