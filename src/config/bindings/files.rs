//! `http-filesystem` and `filesystem` bindings.

use http::Method;
use tailwater_kafka_types::{Template, Variable};
use tailwater_route::{Condition, Error, Pattern, ValuePattern};

use crate::config::bindings::{BindingOutline, Route, Routes};
use crate::config::check::support::Unsupported;
use crate::config::decode::pattern;
use crate::config::decode::template;
use crate::config::decode::{Map, Value};

/// An `http-filesystem` binding of kind `proxy` maps requests to files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpFilesystem {
    /// `routes`: where requests go, by their path.
    pub routes: Vec<Route<FileCondition, FileWith>>,
}

/// A condition on a request; all of its keys must be satisfied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileCondition {
    /// `path`: a pattern of the path, in which `{name}` may contain `/`. Default: any.
    pub path: Option<Pattern>,
    /// `method`: the method. Default: any.
    pub method: Option<Method>,
    /// The same condition for the route layer.
    pub condition: Condition,
}

/// `with` of an `http-filesystem` route: which file a request is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileWith {
    /// `path`: the file, below the location of the `filesystem` binding, a template. Default:
    /// the path of the request.
    pub path: Option<Template>,
    /// `directory`: the folder, a template. Default: none.
    pub directory: Option<Template>,
}

/// A `filesystem` binding of kind `server` serves a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filesystem {
    /// `options.location`: the folder, relative to the configuration file. Required.
    pub location: String,
    /// `options.symlinks`: whether symbolic links are followed. Default: `ignore`, as in Zilla.
    pub symlinks: Symlinks,
}

/// What happens with symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Symlinks {
    /// `follow`: they are followed.
    Follow,
    /// `ignore`: the file counts as missing.
    Ignore,
}

impl HttpFilesystem {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<HttpFilesystem> {
        let routes = Routes {
            when: &|value, _| condition(value),
            with: &with,
            own: Some(FileWith::default()),
        };
        Some(HttpFilesystem { routes: routes.decode(map, outline) })
    }
}

fn condition(value: &Value<'_>) -> Option<FileCondition> {
    let map = value.map()?;
    let path = map.get("path").map(|value| pattern::file_path(&value));
    let method = map.get("method").map(|value| value.parsed("a method, as `GET`", method));
    map.deny_unknown();
    let path = match path {
        Some(path) => Some(path?),
        None => None,
    };
    let method = match method {
        Some(method) => Some(method?),
        None => None,
    };
    match route_condition(path.as_ref(), method.as_ref()) {
        Ok(condition) => Some(FileCondition { path, method, condition }),
        Err(error) => {
            value.error(error.to_string());
            None
        }
    }
}

/// A method without `*`, which would match any text in the route layer.
fn method(text: &str) -> Option<Method> {
    text.parse().ok().filter(|_| !text.contains('*'))
}

fn route_condition(path: Option<&Pattern>, method: Option<&Method>) -> Result<Condition, Error> {
    let mut condition = Condition::any();
    if let Some(path) = path {
        condition = condition.path(path.clone())?;
    }
    if let Some(method) = method {
        condition = condition.header(":method", ValuePattern::new(method.as_str())?)?;
    }
    Ok(condition)
}

fn with(
    map: &Map<'_>,
    when: Option<&[FileCondition]>,
    outline: &mut BindingOutline,
) -> Option<FileWith> {
    let Some(value) = map.get("with") else { return Some(FileWith::default()) };
    let params = when.map(|when| captured(when.iter().map(|when| when.path.as_ref())));
    let with = value.map()?;
    let mut template = |key| {
        let value = with.get(key)?;
        let template = template::decode(&value, params.as_deref())?;
        if template.variables().any(|variable| !matches!(variable, Variable::Parameter(_))) {
            outline.unsupported(&value, Unsupported::GuardTemplate);
        }
        Some(template)
    };
    let out = FileWith { path: template("path"), directory: template("directory") };
    with.deny_unknown();
    Some(out)
}

/// The parameters that each of the patterns captures.
pub(crate) fn captured<'p>(mut patterns: impl Iterator<Item = Option<&'p Pattern>>) -> Vec<String> {
    let Some(Some(first)) = patterns.next() else { return Vec::new() };
    let mut names: Vec<String> = first.names().map(str::to_owned).collect();
    for pattern in patterns {
        names.retain(|name| {
            pattern.is_some_and(|pattern| pattern.names().any(|candidate| candidate == name))
        });
    }
    names
}

impl Filesystem {
    pub(crate) fn decode(map: &Map<'_>, _: &mut BindingOutline) -> Option<Filesystem> {
        let options = map.map_or_empty("options")?;
        let location =
            options.require("location").and_then(|value| value.filled("the path of a folder"));
        let symlinks = match options.get("symlinks") {
            Some(value) => {
                value.one_of(&[("follow", Symlinks::Follow), ("ignore", Symlinks::Ignore)])
            }
            None => Some(Symlinks::Ignore),
        };
        options.deny_unknown();
        Some(Filesystem { location: location?, symlinks: symlinks? })
    }
}
