//! The signature of one request (SigV4).

use std::time::{Duration, UNIX_EPOCH};

use crate::egress::{HeaderName, HeaderValue};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;

use super::Keys;
use crate::provider::credential::Request;

/// Signs a request to `(service, region)`: adds `x-amz-date`, `x-amz-security-token` and
/// `authorization`. Of the request's own headers only `content-type` is signed: a proxy may change
/// the others. The path is encoded once more, as every service but S3 wants it.
pub(super) fn sign(keys: &Keys, scope: (&str, &str), request: Request<'_>) -> Result<(), String> {
    let (service, region) = scope;
    let identity =
        Credentials::new(&keys.access_key_id, &keys.secret_access_key, keys.session_token.clone(), None, "forebay");
    let identity = identity.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(UNIX_EPOCH + Duration::from_millis(request.now.0))
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let kind = request.headers.get("content-type").and_then(|value| value.to_str().ok());
    let signed = kind.map(|kind| ("content-type", kind));
    let signable = SignableRequest::new(
        request.method.as_str(),
        request.url.as_str(),
        signed.into_iter(),
        SignableBody::Bytes(request.body),
    )
    .map_err(|error| error.to_string())?;
    let output = aws_sigv4::http_request::sign(signable, &params).map_err(|error| error.to_string())?;
    let (instructions, _signature) = output.into_parts();
    let (headers, _query) = instructions.into_parts();
    for header in headers {
        let mut value = HeaderValue::from_str(header.value()).map_err(|error| error.to_string())?;
        value.set_sensitive(header.name() != "x-amz-date");
        request.headers.insert(HeaderName::from_static(header.name()), value);
    }
    Ok(())
}
