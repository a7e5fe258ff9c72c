//! librdkafka as a [`Backend`]. Each call is a future that blocks when it is polled, so it must be polled on a
//! thread that may wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::Error;
use crate::broker::librdkafka::Librdkafka;
use crate::broker::{Access, Backend, Consumer, End, Presence, TopicDescription};
use crate::data::gap::Watermarks;

impl Backend for Librdkafka {
    fn cluster(&self) -> &str {
        self.cluster()
    }

    fn consumer(&self, history: bool) -> Result<Box<dyn Consumer>, Error> {
        self.consumer(history)
    }

    fn topics(&self) -> BoxFuture<'_, Result<HashMap<String, usize>, Error>> {
        async { self.topics() }.boxed()
    }

    fn presence<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Presence, Error>> {
        async { self.presence(topic) }.boxed()
    }

    fn access<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<Access>, Error>> {
        async { self.access(topics) }.boxed()
    }

    fn drain_events(&self) -> BoxFuture<'_, bool> {
        async { self.drain_events() }.boxed()
    }

    fn watermarks<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
        retention: Option<Duration>,
    ) -> BoxFuture<'a, Result<Watermarks, Error>> {
        async move { self.watermarks(topic, partitions, retention) }.boxed()
    }

    fn first_since<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
        time: i64,
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>> {
        async move { self.first_since(topic, partitions, time) }.boxed()
    }

    fn ends<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
    ) -> BoxFuture<'a, Result<Vec<End>, Error>> {
        async move { self.ends(topic, partitions) }.boxed()
    }

    fn opening<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
    ) -> BoxFuture<'a, Result<TopicDescription, Error>> {
        async move { self.opening(topic, partitions) }.boxed()
    }

    fn tombstone_retention<'a>(
        &'a self,
        topic: &'a str,
    ) -> BoxFuture<'a, Result<Option<Duration>, Error>> {
        async { self.tombstone_retention(topic) }.boxed()
    }
}
