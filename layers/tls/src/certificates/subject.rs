use std::fmt::Write as _;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The names of a certificate's subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// In the form of RFC 4514, the most specific part first, as Java's `X500Principal.getName()`.
    pub(crate) distinguished_name: String,
    pub(crate) common_name: Option<String>,
    /// Host names in lower case: those of the subject alternative names, or the common name if there are
    /// none.
    pub(crate) hosts: Vec<String>,
    /// The end of its validity, in seconds since 1970.
    pub(crate) not_after: i64,
}

impl Subject {
    /// `None` if it is not an X.509 certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let common_name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        let mut hosts: Vec<String> = match certificate.subject_alternative_name() {
            Ok(Some(names)) => (names.value.general_names.iter())
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        if hosts.is_empty() {
            hosts.extend(common_name.map(str::to_ascii_lowercase));
        }
        Some(Self {
            distinguished_name: distinguished_name(subject),
            common_name: common_name.map(str::to_owned),
            hosts,
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

/// Whether the subject of `issuer` is the issuer of `certificate`, by name.
pub(crate) fn is_issued_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    let (Ok((_, certificate)), Ok((_, issuer))) =
        (X509Certificate::from_der(certificate), X509Certificate::from_der(issuer))
    else {
        return false;
    };
    certificate.issuer().as_raw() == issuer.subject().as_raw()
}

/// Whether one of these distinguished names in DER is the issuer of `certificate`.
pub(crate) fn has_issuer(certificate: &CertificateDer<'_>, issuers: &[&[u8]]) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, certificate)| issuers.contains(&certificate.issuer().as_raw()))
}

/// Whether it may sign certificates (RFC 5280, 6.1.4, (k) and (n)). A certificate of version 1 may not, since
/// it has no such extension.
pub(crate) fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    certificate.is_ca()
        && certificate
            .key_usage()
            .is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| rdn.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    // RFC 4514, 3.
    let keyword = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        other => other,
    };
    let mut text = format!("{keyword}=");
    match attribute.as_str() {
        Ok(value) => escape(value, &mut text),
        Err(_) => {
            text.push('#');
            for byte in attribute.as_slice() {
                let _ = write!(text, "{byte:02x}");
            }
        }
    }
    text
}

/// RFC 4514, 2.4.
fn escape(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => text.extend(['\\', character]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            '\0' => text.push_str("\\00"),
            _ => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_of_a_name_are_escaped() {
        for (value, expected) in [
            ("plain name", "plain name"),
            ("Smith, J.", "Smith\\, J."),
            ("#1", "\\#1"),
            ("a#", "a#"),
            (" x ", "\\ x\\ "),
            (" ", "\\ "),
            ("a=b+c", "a\\=b\\+c"),
            ("", ""),
        ] {
            let mut text = String::new();
            escape(value, &mut text);
            assert_eq!(text, expected, "{value:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_subject() {
        assert_eq!(Subject::of(&CertificateDer::from(vec![0x30, 0x80])), None);
    }
}
