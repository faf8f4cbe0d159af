//! The section `[server.tls]`: the certificate and the private key of the port.
//!
//! Promises that an error names the key of the configuration and never quotes the files.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::Deserialize;

/// The largest PEM file in bytes. A chain has some kilobytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// TLS on the port. With this section the port speaks TLS only.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The PEM file with the server's certificate, followed by those between it and the root. A reload takes a renewed file.
    pub cert: PathBuf,
    /// The PEM file with the private key, as PKCS#8, SEC1 or PKCS#1 (RSA), not encrypted.
    pub key: PathBuf,
}

impl TlsConfig {
    /// Reads both files and builds the TLS configuration of the port.
    ///
    /// # Errors
    /// The key below `server.tls` that is wrong, and why.
    pub fn acceptor(&self) -> Result<Arc<ServerConfig>, (&'static str, String)> {
        let chain = read(&self.cert).map_err(|message| ("cert", message))?;
        let chain: Result<Vec<CertificateDer<'static>>, pem::Error> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.map_err(|_| ("cert", "is not PEM".to_owned()))?;
        if chain.is_empty() {
            return Err(("cert", "holds no certificate in PEM".to_owned()));
        }
        let key = read(&self.key).map_err(|message| ("key", message))?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| ("key", "holds no private key in PEM (PKCS#8, SEC1 or PKCS#1; not encrypted)".to_owned()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| ("cert", format!("and server.tls.key do not go together: {error}")))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(path: &FilePath) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(format!("{}: must be a file of at most {FILE_BYTES_MAX} bytes", path.display()));
    }
    std::fs::read(path).map_err(failed)
}
