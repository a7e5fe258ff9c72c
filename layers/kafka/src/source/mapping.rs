//! Turns a subscription into a query, as a [`Mapping`] says.

use tailwater_kafka_types::{Part, Template, Variable, Variables, check_topic_name};
use tailwater_sse::Subscription;

use crate::Error;
use crate::cluster::Query;
use crate::data::filter::Filter;
use crate::data::start::{Parameters, asks_for_live};
use crate::options::StreamOptions;

/// Turns the subscriptions of a route into queries: topic and filters are templates that each request fills.
#[derive(Clone, Debug)]
#[must_use]
pub struct Mapping {
    pub(crate) topic: Template,
    filters: Vec<FilterTemplate>,
    options: StreamOptions,
    start: Parameters,
}

impl Mapping {
    /// All records of a topic. If a request supplies a part of the name, the name is served only if it matches
    /// `[a-zA-Z0-9._-]{1,249}`, and a name that begins with `__` only if the template does, too.
    pub fn new(topic: Template) -> Self {
        Self {
            topic,
            filters: Vec::new(),
            options: StreamOptions::new(),
            start: Parameters::default(),
        }
    }

    /// Only records that pass this filter or another one that was added.
    pub fn filter(mut self, filter: FilterTemplate) -> Self {
        self.filters.push(filter);
        self
    }

    /// The format of the events. [`StreamOptions::new`] by default.
    pub fn options(mut self, options: StreamOptions) -> Self {
        self.options = options;
        self
    }

    /// Whether the query of a request without a last event id may say where its stream begins:
    /// `from=earliest`, `from=live`, or `from=` and an event id. The response to any other value is
    /// `400 Bad Request` with a text. False by default: the parameter is ignored.
    pub fn allow_from(mut self, allow: bool) -> Self {
        self.start.from = allow;
        self
    }

    /// As [`allow_from`](Self::allow_from), for `since=` and a time: as in RFC 3339, or in milliseconds
    /// since 1970. See [`Start::Since`](crate::Start::Since). A request may have one of both parameters, once.
    pub fn allow_since(mut self, allow: bool) -> Self {
        self.start.since = allow;
        self
    }

    /// The query of a subscription.
    pub(crate) fn query(
        &self,
        subscription: &Subscription,
        variables: &dyn Variables,
    ) -> Result<Query, Error> {
        let extensions = &subscription.parts().extensions;
        let fill = |template: &Template| {
            let filled = template.fill(variables, extensions);
            filled.map_err(|variable: &Variable| Error::Unfilled(variable.to_string()))
        };
        let topic = fill(&self.topic)?;
        let topic = match std::str::from_utf8(&topic) {
            Ok(name) if may_ask_for(name, &self.topic) => name.to_owned(),
            _ => return Err(Error::TopicName(String::from_utf8_lossy(&topic).into_owned())),
        };
        let of_request = subscription.parts().uri.query().unwrap_or_default();
        let mut options = self.options;
        options.timestamps |= subscription.timestamps();
        options.live_event |= asks_for_live(of_request);
        let mut query =
            Query::new(topic).last_event_id(subscription.last_event_id().cloned()).options(options);
        if let Some(start) = self.start.start(of_request)? {
            query = query.start(start);
        }
        for template in &self.filters {
            let mut filter = Filter::any();
            if let Some(key) = &template.key {
                filter = filter.key(fill(key)?);
            }
            for (name, value) in &template.headers {
                filter = filter.header(name.clone(), fill(value)?);
            }
            query = query.filter(filter);
        }
        Ok(query)
    }
}

/// A [`Filter`](crate::Filter) before a request fills it.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct FilterTemplate {
    key: Option<Template>,
    headers: Vec<(String, Template)>,
}

impl FilterTemplate {
    /// A filter that every record passes.
    pub fn any() -> Self {
        Self::default()
    }

    /// Only records with this key.
    pub fn key(mut self, key: Template) -> Self {
        self.key = Some(key);
        self
    }

    /// Only records that have this header with this value.
    pub fn header(mut self, name: impl Into<String>, value: Template) -> Self {
        self.headers.push((name.into(), value));
        self
    }
}

/// Whether a request may name this topic, which it has filled into the template. Kafka allows no other
/// names. Names that begin with `__` are internal topics of Kafka, which only a configuration may name.
fn may_ask_for(name: &str, template: &Template) -> bool {
    let begins = template.parts().first();
    let spelled_out = matches!(begins, Some(Part::Literal(text)) if text.starts_with("__"));
    template.as_literal().is_some()
        || check_topic_name(name).is_ok() && (spelled_out || !name.starts_with("__"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_only_ask_for_names_that_kafka_allows_and_does_not_own() {
        let longest = "a".repeat(249);
        let long = "a".repeat(250);
        for (name, legal) in [
            ("events", true),
            ("a.b_c-D9", true),
            (&*longest, true),
            (&*long, false),
            ("", false),
            (".", false),
            ("..", false),
            ("__consumer_offsets", false),
            ("_a", true),
            ("a b", false),
            ("ä", false),
            ("a/b", false),
            ("a\0", false),
        ] {
            let template = "${params.topic}".parse().unwrap();
            assert_eq!(may_ask_for(name, &template), legal, "{name:?}");
        }
    }

    #[test]
    fn only_a_configuration_spells_out_what_kafka_owns() {
        for (template, name, legal) in [
            ("__consumer_offsets", "__consumer_offsets", true),
            ("__app-${params.a}", "__app-1", true),
            ("__app-${params.a}", "__app-a/b", false),
            ("__${params.a}", "__", true),
            ("_${params.a}", "__consumer_offsets", false),
            ("_${params.a}", "_a", true),
            ("${params.a}__", "__consumer_offsets__", false),
            ("${params.a}${params.b}", "__consumer_offsets", false),
        ] {
            assert_eq!(may_ask_for(name, &template.parse().unwrap()), legal, "{template} {name}");
        }
    }
}
