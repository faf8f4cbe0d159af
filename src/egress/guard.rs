//! Guard that lets jobs reach only public addresses.
//!
//! Owns the decision which addresses are public. Promises that neither an address in a URL, nor a
//! name that resolves to one, leads a request to what only this machine can reach, unless the
//! configuration names the host. Redirects are checked by those who follow them.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Decides which hosts may be reached: public ones, and those that the configuration names.
#[derive(Clone, Debug)]
pub(super) struct AddressGuard {
    /// Host names in lower case that are allowed whatever their addresses are.
    allowed: Arc<HashSet<Box<str>>>,
    /// Section of the configuration whose `allow_hosts` they come from.
    section: &'static str,
}

impl AddressGuard {
    /// Builds a guard that also allows these hosts, which `section.allow_hosts` names.
    pub(super) fn new(allowed: impl IntoIterator<Item = Box<str>>, section: &'static str) -> AddressGuard {
        let allowed = allowed.into_iter().map(|host| host.to_ascii_lowercase().into()).collect();
        AddressGuard { allowed: Arc::new(allowed), section }
    }

    /// Whether the configuration names this host.
    pub(super) fn names(&self, host: &str) -> bool {
        self.allowed.contains(host)
    }

    /// Checks the address itself. Names are checked when they are resolved.
    ///
    /// # Errors
    /// A sentence for the caller, without the address.
    pub(super) fn check(&self, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must be an http, https or data address".into());
        }
        let host = url.host_str().unwrap_or("");
        if self.names(host) {
            return Ok(());
        }
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) if !is_public(address) => Err(self.refusal()),
            _ => Ok(()),
        }
    }

    fn refusal(&self) -> String {
        format!("is not a public address; {}.allow_hosts in the configuration can name its host", self.section)
    }
}

/// As the resolver of a client it gives public addresses only, except for hosts that are named.
impl Resolve for AddressGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let is_named = guard.names(name.as_str());
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let usable: Vec<SocketAddr> = found.filter(|address| is_named || is_public(address.ip())).collect();
            if usable.is_empty() {
                return Err(guard.refusal().into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

/// Whether the address can be reached from anywhere on the Internet: it is in none of the special
/// ranges of the IANA registries (RFC 6890 and its successors).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18);
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let inner = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(w, x, y, z))
    };
    match [a, b, c, d, e, f] {
        // An IPv4 address in another form: mapped, translated (RFC 6052), 6to4.
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => inner(g, h),
        [0x2002, high, low, ..] => inner(high, low),
        // Teredo, documentation, and the rest of 2001:0000::/23.
        [0x2001, 0..=0x01ff | 0xdb8, ..] => false,
        // Global unicast addresses lie in 2000::/3.
        _ => a & 0xe000 == 0x2000 && a != 0x3fff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for (address, expected) in [
            ("1.1.1.1", true),
            ("93.184.216.34", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("0.0.0.0", false),
            ("198.19.0.1", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:1.1.1.1", true),
            ("64:ff9b::a00:1", false),
            ("2002:7f00:1::", false),
            ("2001:db8::1", false),
            ("2606:4700:4700::1111", true),
            ("::127.0.0.1", false),
        ] {
            assert_eq!(is_public(address.parse().expect("an address")), expected, "{address}");
        }
    }
}
