//! The certificate authorities that may vouch for an SMTP server.

use std::{io, path::Path};

use lettre::transport::smtp::{
    self,
    client::{Certificate, TlsParameters, TlsParametersBuilder},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};

/// Certificate authorities that are trusted besides those which come with this program.
#[derive(Debug, Clone, Default)]
pub struct Authorities(Option<Certificate>);

/// A file that names no authority.
#[derive(Debug, thiserror::Error)]
pub enum BadAuthorities {
    /// It cannot be opened.
    #[error("cannot read {0}: {1}")]
    Unreadable(String, io::Error),
    /// There is none in it.
    #[error("{0} holds no certificate; it must be a PEM file, with -----BEGIN CERTIFICATE----- in it")]
    Empty(String),
    /// One in it is damaged.
    #[error("a certificate of {0} cannot be read: {1}")]
    Damaged(String, smtp::Error),
}

impl Authorities {
    /// Reads the authorities of a PEM file. All of them must be sound.
    pub fn read(path: &Path) -> Result<Self, BadAuthorities> {
        let name = || path.display().to_string();
        let damaged = |error| BadAuthorities::Damaged(name(), error);
        let text = std::fs::read(path).map_err(|error| BadAuthorities::Unreadable(name(), error))?;
        if CertificateDer::pem_slice_iter(&text).next().is_none() {
            return Err(BadAuthorities::Empty(name()));
        }
        let all = Self(Some(Certificate::from_pem(&text).map_err(damaged)?));
        all.tls("localhost").map_err(damaged)?;
        Ok(all)
    }

    /// The parameters of TLS with the server of this name or address.
    pub fn tls(&self, host: &str) -> Result<TlsParameters, smtp::Error> {
        let builder = TlsParametersBuilder::new(host.to_owned());
        self.0.iter().cloned().fold(builder, TlsParametersBuilder::add_root_certificate).build_rustls()
    }
}
