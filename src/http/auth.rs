//! Authentication of a request from its head: the key's access, and the gateway.

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName};

use super::query::decode;
use crate::config::{Config, Scope};
use crate::job::{Code, Failure, Gateway};
use crate::policy::access::{self, Access};

const GATEWAY: HeaderName = HeaderName::from_static("forebay-gateway");
/// Cloudflare's names for the same: their clients keep `Authorization` for the provider's key.
const CLOUDFLARE_GATEWAY: HeaderName = HeaderName::from_static("cf-aig-gateway-id");
pub(super) const CLOUDFLARE_KEY: HeaderName = HeaderName::from_static("cf-aig-authorization");
const API_KEYS: [HeaderName; 2] = [HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

/// Access and gateway of a request.
pub(super) struct RequestAuth {
    pub(super) access: Access,
    /// Gateway of the path or of a header.
    pub(super) gateway: Option<Gateway>,
}

impl RequestAuth {
    /// # Errors
    /// `unauthenticated`; `invalid`, naming `gateway`.
    pub(super) fn read(config: &Config, headers: &HeaderMap, gateway: Option<&str>) -> Result<RequestAuth, Failure> {
        let access = access::authenticate(config, presented(headers).as_deref())?;
        Ok(RequestAuth { access, gateway: gateway_of(headers, gateway)? })
    }

    /// The gateways that a list may show; `None` = all.
    ///
    /// # Errors
    /// `forbidden`.
    pub(super) fn gateways(&self) -> Result<Option<Vec<Gateway>>, Failure> {
        match &self.gateway {
            Some(gateway) => {
                self.access.require_in(Scope::Read, gateway)?;
                Ok(Some(vec![gateway.clone()]))
            }
            None => Ok(self.access.gateways.clone()),
        }
    }

    /// Whether the key of the request may see jobs of `gateway`.
    pub(super) fn sees(&self, gateway: &Gateway) -> bool {
        self.access.sees(gateway) && self.gateway.as_ref().is_none_or(|wanted| wanted == gateway)
    }
}

/// The key as it was presented, if any was.
pub(super) fn presented(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    if let Some(value) = headers.get(CLOUDFLARE_KEY).or_else(|| headers.get(AUTHORIZATION)) {
        let value = value.as_bytes();
        let (scheme, key) = value.split_at_checked(7)?;
        return scheme.eq_ignore_ascii_case(b"bearer ").then(|| String::from_utf8_lossy(key.trim_ascii()));
    }
    API_KEYS.iter().find_map(|name| headers.get(name)).map(|value| String::from_utf8_lossy(value.as_bytes()))
}

fn gateway_of(headers: &HeaderMap, address: Option<&str>) -> Result<Option<Gateway>, Failure> {
    let address = address.map(|text| decode(text, false).parse::<Gateway>()).transpose()?;
    let Some(header) = headers.get(GATEWAY).or_else(|| headers.get(CLOUDFLARE_GATEWAY)) else { return Ok(address) };
    let header: Gateway = header.to_str().unwrap_or_default().parse()?;
    match address {
        Some(address) if address != header => {
            Err(Failure::invalid("gateway", "the address and the header say different things"))
        }
        _ => Ok(Some(header)),
    }
}

/// Returns the text of a header.
///
/// # Errors
/// `code`, naming the header, when it is given twice or is not text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str, code: Code) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let wrong = |what: &str| Failure::new(code, format!("{name}: {what}")).with_param(name);
    if values.next().is_some() {
        return Err(wrong("is given twice"));
    }
    std::str::from_utf8(first.as_bytes()).map(Some).map_err(|_| wrong("is not UTF-8"))
}
