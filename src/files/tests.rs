use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use http::header::{ACCEPT_RANGES, ETAG, HeaderName, LAST_MODIFIED};
use http_body_util::BodyExt as _;
use tailwater_route::{RouteLayer, Routes};
use tempfile::TempDir;
use tower::{Layer as _, ServiceExt as _};

use super::*;
use crate::config::{self, Kind};

/// A folder `www` with a file `secret.txt` beside it.
fn site() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("secret.txt"), "secret").unwrap();
    let www = root.path().join("www");
    for folder in ["docs", "d ir", "empty", "odd/index.html"] {
        fs::create_dir_all(www.join(folder)).unwrap();
    }
    for (name, text) in [
        ("index.html", "start"),
        ("app.js", "script"),
        ("a b.txt", "space"),
        ("100%.txt", "percent"),
        ("é.txt", "accent"),
        ("q?.txt", "question"),
        ("...", "three dots"),
        ("none.txt", ""),
        ("dot.png", "picture"),
        ("what", "bytes"),
        ("docs/index.html", "docs"),
        ("docs/guide.html", "guide"),
        ("d ir/index.html", "dir"),
    ] {
        fs::write(www.join(name), text).unwrap();
    }
    for (name, to) in [
        ("out.txt", "../secret.txt"),
        ("in.js", "app.js"),
        ("up", ".."),
        ("to", "docs"),
        ("round", "round"),
    ] {
        symlink(to, www.join(name)).unwrap();
    }
    root
}

fn files(root: &TempDir, symlinks: Symlinks) -> Files {
    Files::new(root.path().join("www"), symlinks, &FileWith::default())
}

/// The files behind a route of an `http-filesystem` binding.
fn routed(
    root: &TempDir,
    when: &str,
    with: &str,
    symlinks: Symlinks,
) -> impl Service<Request<()>, Response = Response<FileBody>, Error = Infallible, Future: Send> + Clone
{
    let file = format!(
        "name: test
bindings:
  in: {{ type: tcp, kind: server, options: {{ port: 7114 }}, exit: web }}
  web: {{ type: http, kind: server, exit: pages }}
  pages:
    type: http-filesystem
    kind: proxy
    routes: [ {{ when: [ {{ path: \"{when}\" }} ], with: {with}, exit: files }} ]
  files: {{ type: filesystem, kind: server, options: {{ location: www }} }}
"
    );
    let parsed = config::parse("zilla.yaml", file.as_bytes(), &|_| None).unwrap();
    let config = &parsed.namespaces[0];
    let Kind::HttpFilesystem(pages) = &config.binding("pages").unwrap().kind else {
        panic!("another kind")
    };
    let [route] = pages.routes.as_slice() else { panic!("not one route") };
    let pattern = route.when[0].path.clone().unwrap();
    let routes = Routes::new().route([pattern], ());
    RouteLayer::new(routes).layer(Files::new(root.path().join("www"), symlinks, &route.with))
}

async fn ask<S>(service: S, request: Request<()>) -> (StatusCode, HeaderMap, String)
where
    S: Service<Request<()>, Response = Response<FileBody>, Error = Infallible>,
{
    let (parts, body) = service.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

fn get_if(path: &str, headers: &[(HeaderName, &str)]) -> Request<()> {
    let mut request = get(path);
    for (name, value) in headers {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn path_is_decoded_once_and_names_a_file() {
    let root = site();
    let _listener = UnixListener::bind(root.path().join("www/socket")).unwrap();
    assert!(Command::new("mkfifo").arg(root.path().join("www/pipe")).status().unwrap().success());
    let long = format!("/{}", "n".repeat(300));
    let deep = "/n".repeat(3000);
    for (path, status, body) in [
        ("/", 200, "start"),
        ("/index.html", 200, "start"),
        ("/index.html?query", 200, "start"),
        ("/app.js", 200, "script"),
        ("/%61pp.js", 200, "script"),
        ("/a%20b.txt", 200, "space"),
        ("/100%25.txt", 200, "percent"),
        ("/%C3%A9.txt", 200, "accent"),
        ("/q%3F.txt", 200, "question"),
        ("/...", 200, "three dots"),
        ("/none.txt", 200, ""),
        ("/docs/", 200, "docs"),
        ("/docs/guide.html", 200, "guide"),
        ("/missing", 404, ""),
        ("/missing/", 404, ""),
        ("/empty/", 404, ""),
        ("/empty", 404, ""),
        ("/app.js/", 404, ""),
        ("/app.js/more", 404, ""),
        ("/odd/", 404, ""),
        ("/odd", 404, ""),
        ("/socket", 404, ""),
        ("/pipe", 404, ""),
        (&long, 404, ""),
        (&deep, 404, ""),
        ("/%FF", 404, ""),
        ("/%zz", 404, ""),
        ("/%", 404, ""),
    ] {
        for symlinks in [Symlinks::Ignore, Symlinks::Follow] {
            let (found, _, text) = ask(files(&root, symlinks), get(path)).await;
            assert_eq!((found.as_u16(), text.as_str()), (status, body), "{path} {symlinks:?}");
            let head = Request::head(path).body(()).unwrap();
            let (found, _, text) = ask(files(&root, symlinks), head).await;
            assert_eq!((found.as_u16(), text.as_str()), (status, ""), "HEAD {path} {symlinks:?}");
        }
    }
}

#[tokio::test]
async fn nothing_outside_of_the_location_and_no_second_spelling_is_found() {
    let root = site();
    let secret = root.path().join("secret.txt");
    let absolute = secret.to_str().unwrap();
    let with_param = [
        routed(&root, "/{file}", "{ path: \"/${params.file}\" }", Symlinks::Follow),
        routed(&root, "/{file}", "{ path: \"${params.file}\" }", Symlinks::Ignore),
        routed(
            &root,
            "/{file}",
            "{ directory: docs/, path: \"/../${params.file}\" }",
            Symlinks::Ignore,
        ),
    ];
    for path in [
        "/..",
        "/../",
        "/../secret.txt",
        "/docs/..",
        "/docs/../app.js",
        "/docs/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2E%2E/secret.txt",
        "/.%2e/secret.txt",
        "/..%2fsecret.txt",
        "/..%2Fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/docs%2f..%2f..%2fsecret.txt",
        "/docs%2Fguide.html",
        "/..%5csecret.txt",
        "/..%5Csecret.txt",
        "/..\\secret.txt",
        "/docs\\guide.html",
        "/%252e%252e/secret.txt",
        "/%252e%252e%252fsecret.txt",
        "/..%252fsecret.txt",
        "/%c0%ae%c0%ae/secret.txt",
        "/%uff0e%uff0e/secret.txt",
        "/..;/secret.txt",
        "/.../secret.txt",
        "/secret.txt",
        "/app.js%00",
        "/app.js%00.html",
        "/.",
        "/./app.js",
        "/%2e/app.js",
        "/docs/./guide.html",
        "//",
        "//app.js",
        "//docs",
        "//docs/guide.html",
        "/docs//guide.html",
        "/docs//",
        &format!("/{absolute}"),
        &format!("/{}", absolute.replace('/', "%2F")),
        &format!("/file://{absolute}"),
    ] {
        let plain = ask(files(&root, Symlinks::Follow), get(path)).await;
        assert_eq!((plain.0.as_u16(), plain.2.as_str()), (404, ""), "{path}");
        for service in with_param.clone() {
            let (status, _, body) = ask(service, get(path)).await;
            assert_eq!((status.as_u16(), body.as_str()), (404, ""), "{path} as a parameter");
        }
    }
    let (status, _, body) = ask(with_param[1].clone(), get("/docs/guide.html")).await;
    assert_eq!((status.as_u16(), body.as_str()), (200, "guide"));
}

#[tokio::test]
async fn symbolic_links_are_not_there_unless_they_are_followed() {
    let root = site();
    for (path, body) in [
        ("/out.txt", "secret"),
        ("/in.js", "script"),
        ("/up/secret.txt", "secret"),
        ("/up/www/app.js", "script"),
        ("/to/", "docs"),
        ("/to/guide.html", "guide"),
    ] {
        let (status, _, text) = ask(files(&root, Symlinks::Ignore), get(path)).await;
        assert_eq!((status.as_u16(), text.as_str()), (404, ""), "{path}");
        let (status, _, text) = ask(files(&root, Symlinks::Follow), get(path)).await;
        assert_eq!((status.as_u16(), text.as_str()), (200, body), "{path}");
    }
    for symlinks in [Symlinks::Ignore, Symlinks::Follow] {
        assert_eq!(ask(files(&root, symlinks), get("/round")).await.0, 404);
    }
    assert_eq!(
        ask(files(&root, Symlinks::Ignore), get("/to")).await.0,
        404,
        "nor is there a redirect"
    );

    symlink("www", root.path().join("current")).unwrap();
    let linked = Files::new(root.path().join("current"), Symlinks::Ignore, &FileWith::default());
    assert_eq!(ask(linked, get("/app.js")).await.2, "script", "the location itself may be a link");
}

#[tokio::test]
async fn folder_without_its_slash_is_a_redirect_that_stays_here() {
    let root = site();
    for (path, location) in [
        ("/docs", "./docs/"),
        ("/docs?a=b&c", "./docs/?a=b&c"),
        ("/d%20ir", "./d%20ir/"),
        ("/%64ocs", "./%64ocs/"),
    ] {
        let (status, headers, _) = ask(files(&root, Symlinks::Ignore), get(path)).await;
        assert_eq!(
            (status.as_u16(), headers[LOCATION].to_str().unwrap()),
            (307, location),
            "{path}"
        );
    }
}

#[tokio::test]
async fn route_says_which_file_it_is() {
    let root = site();
    for (when, with, path, status, body) in [
        ("/help", "{ path: docs/guide.html }", "/help", 200, "guide"),
        ("/help", "{ path: docs/guide.html }", "/docs/guide.html", 404, ""),
        ("/s/{file}", "{ path: \"/${params.file}\" }", "/s/docs/guide.html", 200, "guide"),
        ("/s/{file}", "{ path: \"/${params.file}\" }", "/s/a%20b.txt", 200, "space"),
        ("/s/{file}", "{ path: \"/${params.file}\" }", "/s/100%25.txt", 200, "percent"),
        ("/s/{file}", "{ path: \"/${params.file}\" }", "/s/100%2525.txt", 404, ""),
        ("/s/{file}", "{ path: \"/${params.file}\" }", "/s/docs", 307, ""),
        ("/s/{file}", "{ path: \"/${params.file}\" }", "/s/docs/", 200, "docs"),
        ("/s/{file}/page", "{ path: \"/${params.file}\" }", "/s/docs/page", 200, "docs"),
        (
            "/s/{file}",
            "{ directory: /docs/, path: \"/${params.file}\" }",
            "/s/guide.html",
            200,
            "guide",
        ),
        ("/s/{folder}", "{ directory: \"${params.folder}\" }", "/s/docs/", 200, "docs"),
        ("/s/{folder}", "{ directory: \"${params.folder}\" }", "/s/empty/", 404, ""),
        ("/app", "{ directory: docs }", "/app", 200, "docs"),
        ("/app", "{ path: docs }", "/app", 200, "docs"),
    ] {
        let (found, _, text) = ask(routed(&root, when, with, Symlinks::Ignore), get(path)).await;
        assert_eq!((found.as_u16(), text.as_str()), (status, body), "{when} {with} {path}");
    }
}

#[tokio::test]
async fn other_methods_are_told_which_there_are() {
    let root = site();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "QUERY"] {
        let request = Request::builder().method(method).uri("/app.js").body(()).unwrap();
        let (status, headers, _) = ask(files(&root, Symlinks::Ignore), request).await;
        assert_eq!(
            (status.as_u16(), headers[ALLOW].to_str().unwrap()),
            (405, "GET, HEAD"),
            "{method}"
        );
    }
}

#[tokio::test]
async fn type_follows_from_the_name() {
    let root = site();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/a%20b.txt", "text/plain; charset=utf-8"),
        ("/dot.png", "image/png"),
        ("/what", "application/octet-stream"),
    ] {
        let (_, headers, _) = ask(files(&root, Symlinks::Ignore), get(path)).await;
        assert_eq!(headers[CONTENT_TYPE], kind, "{path}");
    }
}

#[tokio::test]
async fn unchanged_file_is_not_sent_again() {
    let root = site();
    let files = files(&root, Symlinks::Ignore);
    let (_, headers, _) = ask(files.clone(), get("/app.js")).await;
    let etag = headers[ETAG].to_str().unwrap();
    assert!(etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    let modified = headers[LAST_MODIFIED].to_str().unwrap();
    let weak = format!("W/{etag}");
    let several = format!("\"other\", {etag}");
    for (conditions, status) in [
        (&[(IF_NONE_MATCH, etag)][..], 304),
        (&[(IF_NONE_MATCH, &weak)], 304),
        (&[(IF_NONE_MATCH, &several)], 304),
        (&[(IF_NONE_MATCH, "*")], 304),
        (&[(IF_NONE_MATCH, "\"other\"")], 200),
        (&[(IF_MODIFIED_SINCE, modified)], 304),
        (&[(IF_MODIFIED_SINCE, "Thu, 01 Jan 1970 00:00:00 GMT")], 200),
        (&[(IF_MODIFIED_SINCE, "yesterday")], 200),
        // RFC 9110 13.2.2: if both are present, the entity tag decides.
        (&[(IF_NONE_MATCH, "\"other\""), (IF_MODIFIED_SINCE, modified)], 200),
        (&[(IF_NONE_MATCH, etag), (IF_MODIFIED_SINCE, "Thu, 01 Jan 1970 00:00:00 GMT")], 304),
        (&[(IF_MATCH, "\"other\"")], 412),
    ] {
        let (found, headers, body) = ask(files.clone(), get_if("/app.js", conditions)).await;
        assert_eq!(found, status, "{conditions:?}");
        if status == 304 {
            assert_eq!(
                (headers[ETAG].to_str().unwrap(), body.as_str()),
                (etag, ""),
                "{conditions:?}"
            );
        }
    }
    fs::write(root.path().join("www/app.js"), "another script").unwrap();
    let (status, _, body) = ask(files, get_if("/app.js", &[(IF_NONE_MATCH, etag)])).await;
    assert_eq!((status.as_u16(), body.as_str()), (200, "another script"));
}

#[tokio::test]
async fn range_of_a_file_is_sent_alone() {
    let root = site();
    let files = files(&root, Symlinks::Ignore);
    let (_, headers, _) = ask(files.clone(), get("/app.js")).await;
    assert_eq!(headers[ACCEPT_RANGES], "bytes");
    for (path, headers, status, range, body) in [
        ("/app.js", &[(RANGE, "bytes=1-2")][..], 206, Some("bytes 1-2/6"), "cr"),
        ("/app.js", &[(RANGE, "bytes=-2")], 206, Some("bytes 4-5/6"), "pt"),
        ("/app.js", &[(RANGE, "bytes=9-")], 416, Some("bytes */6"), ""),
        ("/app.js", &[(RANGE, "bytes=0-0,2-3")], 200, None, "script"),
        (
            "/app.js",
            &[(RANGE, "bytes=1-2"), (IF_RANGE, "\"of an older file\"")],
            200,
            None,
            "script",
        ),
        ("/none.txt", &[(RANGE, "bytes=0-0")], 200, None, ""),
    ] {
        let (found, answered, text) = ask(files.clone(), get_if(path, headers)).await;
        let named = answered.get(CONTENT_RANGE).map(|value| value.to_str().unwrap());
        assert_eq!((found.as_u16(), named, text.as_str()), (status, range, body), "{headers:?}");
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get() {
    let root = site();
    let files = files(&root, Symlinks::Ignore);
    let (_, of_get, _) = ask(files.clone(), get("/app.js")).await;
    let head = Request::head("/app.js").header(RANGE, "bytes=0-1").body(()).unwrap();
    let (status, of_head, body) = ask(files, head).await;
    assert_eq!((status.as_u16(), of_head, body.as_str()), (200, of_get.clone(), ""));
    assert_eq!(of_get[CONTENT_LENGTH], "6");
}

#[tokio::test]
async fn location_may_come_later() {
    let root = tempfile::tempdir().unwrap();
    let files = files(&root, Symlinks::Ignore);
    assert_eq!(ask(files.clone(), get("/app.js")).await.0, 404);
    fs::create_dir(root.path().join("www")).unwrap();
    fs::write(root.path().join("www/app.js"), "script").unwrap();
    assert_eq!(ask(files, get("/app.js")).await.2, "script");
}
