//! `options.requests` of `http` bindings: what requests and responses must look like. It is checked
//! and not kept: nothing is validated yet.

use http::Method;

use super::decode::{Map, Value};
use super::model::Model;
use super::pattern;

/// Checks the list.
pub(super) fn check(value: &Value<'_>) {
    for request in value.each(|item| item.map()) {
        if let Some(path) = request.require("path") {
            pattern::path(&path);
        }
        if let Some(method) = request.get("method") {
            method.parsed("a method, as `GET`", |text| text.parse::<Method>().ok());
        }
        if let Some(params) = request.map("params") {
            models(&params, "path");
            models(&params, "query");
            params.deny_unknown();
        }
        message(&request);
        for response in
            request.get("responses").iter().flat_map(|value| value.each(|item| item.map()))
        {
            if let Some(status) = response.get("status") {
                statuses(&status);
            }
            message(&response);
            response.deny_unknown();
        }
        request.deny_unknown();
    }
}

/// What requests and responses have in common.
fn message(map: &Map<'_>) {
    map.texts("content-type");
    models(map, "headers");
    if let Some(content) = map.get("content") {
        Model::decode(&content);
    }
}

/// A mapping of names to models.
fn models(map: &Map<'_>, key: &'static str) {
    for (_, model) in map.map(key).iter().flat_map(Map::entries) {
        Model::decode(&model);
    }
}

fn statuses(value: &Value<'_>) {
    let status = |value: &Value<'_>| value.number("a status (100 to 599)", 100..=599_u16);
    if value.is_list() {
        value.each(|item| status(&item));
    } else {
        status(value);
    }
}
