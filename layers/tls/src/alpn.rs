use crate::error::Error;

pub(crate) fn check_alpn(names: &[Vec<u8>]) -> Result<(), Error> {
    match names.iter().find(|name| !(1..=255).contains(&name.len())) {
        Some(name) => Err(Error::Alpn(name.len())),
        None => Ok(()),
    }
}
