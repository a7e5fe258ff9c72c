//! Certificates that are rotated without a restart.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, slice};

use tailwater_tls::{
    BoxError, ClientOptions, Credentials, Error, Roots, ServerConfig, ServerOptions, Store, Watch,
};

use crate::support::{Authority, client, localhost, meet, server};

#[tokio::test]
async fn new_handshakes_have_the_new_certificate() {
    let old = Authority::new("Old");
    let new = Authority::new("New");
    let server =
        server(Credentials::new().identity(old.issue(&["localhost"])), ServerOptions::new());
    let of_old = client(Credentials::new().roots(old.roots()), ClientOptions::new());
    meet(&server, &of_old, "localhost").await.1.unwrap();

    server.rotate(Credentials::new().identity(new.issue(&["localhost"]))).unwrap();
    // No resumed session hides the new certificate.
    assert!(meet(&server, &of_old, "localhost").await.1.is_err());
    let of_new = client(Credentials::new().roots(new.roots()), ClientOptions::new());
    meet(&server, &of_new, "localhost").await.1.unwrap();

    // The same for the client.
    of_old.rotate(Credentials::new().roots(new.roots())).unwrap();
    meet(&server, &of_old, "localhost").await.1.unwrap();

    // The rotation has not ended the count.
    let counts = server.handshakes();
    assert_eq!((counts.done, counts.failed), (3, 1));
    let identities = server.identities();
    assert!(identities[0].not_after() > std::time::SystemTime::now());
}

#[tokio::test]
async fn what_is_wrong_leaves_what_was_there() {
    let (credentials, roots) = localhost();
    let server = server(credentials, ServerOptions::new());
    let client = client(Credentials::new().roots(roots), ClientOptions::new());
    assert!(matches!(server.rotate(Credentials::new()), Err(Error::ServerWithoutIdentity)));
    assert!(matches!(client.rotate(Credentials::new()), Err(Error::NoRoots)));
    meet(&server, &client, "localhost").await.1.unwrap();
}

/// A server whose certificate is in a watched file, and the result of each reload.
struct Watched {
    config: ServerConfig,
    reloads: mpsc::Receiver<Result<(), String>>,
}

impl Watched {
    fn new(path: &Path) -> Self {
        let watch = Watch::new([path]);
        let path = path.to_owned();
        let load = move || -> Result<Credentials, BoxError> {
            let store = Store::pem("a", &fs::read(&path)?)?;
            Ok(Credentials::new().identity(store.identity("a")?))
        };
        let config = ServerConfig::new(load().expect("a store"), ServerOptions::new());
        let config = config.expect("a server");
        let (sender, reloads) = mpsc::channel();
        let reload = {
            let config = config.clone();
            move || {
                let result = load().and_then(|credentials| Ok(config.rotate(credentials)?));
                let outcome = result.as_ref().copied().map_err(ToString::to_string);
                sender.send(outcome).expect("the test waits");
                result
            }
        };
        tokio::spawn(watch.run(Watch::INTERVAL, reload));
        Self { config, reloads }
    }

    /// Waits for two checks of the files, so that the first is complete.
    async fn look(&self) -> Vec<Result<(), String>> {
        tokio::time::sleep(Watch::INTERVAL + Duration::from_secs(1)).await;
        self.reloads.try_iter().collect()
    }

    async fn is_from(&self, roots: &Roots) -> bool {
        let client = client(Credentials::new().roots(roots.clone()), ClientOptions::new());
        meet(&self.config, &client, "localhost").await.1.is_ok()
    }
}

fn pem(authority: &Authority) -> String {
    let identity = authority.issue(&["localhost"]);
    identity.certificates_pem() + &identity.key_pem()
}

/// A sleep with a paused clock waits for the watch: the clock does not advance while the blocking thread reads
/// files.
#[tokio::test(start_paused = true)]
async fn a_file_that_changes_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.pem");
    let old = Authority::new("Old");
    let new = Authority::new("New");
    fs::write(&path, pem(&old)).unwrap();
    let watched = Watched::new(&path);
    assert_eq!(watched.look().await, [], "nothing has changed");

    fs::write(&path, pem(&new)).unwrap();
    assert_eq!(watched.look().await, [Ok(())]);
    assert!(watched.is_from(&new.roots()).await);
    assert_eq!(watched.look().await, []);

    // Replaced by a rename.
    let other = folder.path().join("other.pem");
    fs::write(&other, pem(&old)).unwrap();
    fs::rename(&other, &path).unwrap();
    assert_eq!(watched.look().await, [Ok(())]);
    assert!(watched.is_from(&old.roots()).await);
}

#[tokio::test(start_paused = true)]
async fn the_last_good_certificate_stays_until_there_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.pem");
    let old = Authority::new("Old");
    let new = Authority::new("New");
    fs::write(&path, pem(&old)).unwrap();
    let watched = Watched::new(&path);

    fs::write(&path, "half").unwrap();
    let refused = Err("the PEM text has no certificate".to_owned());
    assert_eq!(watched.look().await, slice::from_ref(&refused));
    // The reload may have failed for a temporary reason, so it is tried again.
    assert_eq!(watched.look().await, [refused]);
    fs::remove_file(&path).unwrap();
    assert_eq!(watched.look().await.len(), 1);
    assert!(watched.is_from(&old.roots()).await);

    fs::write(&path, pem(&new)).unwrap();
    assert_eq!(watched.look().await, [Ok(())]);
    assert_eq!(watched.look().await, []);
    assert!(watched.is_from(&new.roots()).await);
}

/// In a Kubernetes volume the file is a link into `..data`, which is a link to a folder. An update replaces the
/// second link.
#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_link_to_the_folder_of_the_file_can_be_replaced() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let old = Authority::new("Old");
    let new = Authority::new("New");
    for (name, authority) in [("1", &old), ("2", &new)] {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("server.pem"), pem(authority)).unwrap();
    }
    symlink("1", folder.join("..data")).unwrap();
    symlink("..data/server.pem", folder.join("server.pem")).unwrap();
    let watched = Watched::new(&folder.join("server.pem"));

    symlink("2", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    assert_eq!(watched.look().await, [Ok(())]);
    assert!(watched.is_from(&new.roots()).await);
}
