use std::time::Duration;

use lapin::{
    Connection, ConnectionProperties,
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use testkit::{Server, Servers};
use tokio::time::timeout;

/// A queue, a table, a key and an index with its template; and whoever makes the table does not let go of it.
async fn use_all(servers: &Servers) -> PgConnection {
    let prefix = servers.prefix();
    let broker = Connection::connect(&servers.rabbitmq().url, ConnectionProperties::default()).await.unwrap();
    let channel = broker.create_channel().await.unwrap();
    let (queue, durable) =
        (format!("{prefix}.snapshots"), QueueDeclareOptions { durable: true, ..Default::default() });
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(queue.as_str().into(), durable, quorum).await.unwrap();

    let mut database = PgConnection::connect(&servers.postgresql().url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE a (b TEXT); BEGIN; LOCK TABLE a").execute(&mut database).await.unwrap();

    let mut redis = servers.redis_connection().await;
    let () =
        redis::cmd("SET").arg(format!("{prefix}:key")).arg("value").query_async(&mut redis).await.unwrap();

    let template = json!({"index_patterns": [format!("{prefix}-snapshots-*")]});
    let path = format!("_index_template/{prefix}-snapshots");
    assert_eq!(servers.ask_elasticsearch("PUT", &path, Some(template)).await["acknowledged"], true);
    let path = format!("{prefix}-snapshots-2026.09.21");
    assert_eq!(servers.ask_elasticsearch("PUT", &path, None).await["acknowledged"], true);
    database
}

/// What there is under this prefix, in words.
async fn left(prefix: &str) -> Vec<&'static str> {
    let (others, mut left) = (Servers::of(&Server::ALL).await, Vec::new());
    let broker =
        Connection::connect(&others.rabbitmq().direct, ConnectionProperties::default()).await.unwrap();
    let channel = broker.create_channel().await.unwrap();
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    let queue = format!("{prefix}.snapshots");
    if channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await.is_ok() {
        left.push("a queue");
    }
    let mut database = PgConnection::connect(&others.postgresql().direct).await.unwrap();
    let named = sqlx::query("SELECT 1 FROM pg_namespace WHERE nspname = $1").bind(prefix.replace('-', "_"));
    if named.fetch_optional(&mut database).await.unwrap().is_some() {
        left.push("a schema");
    }
    let mut redis = others.redis_connection().await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{prefix}:*")).query_async(&mut redis).await.unwrap();
    if !keys.is_empty() {
        left.push("a key");
    }
    let indices = others.ask_elasticsearch("GET", &format!("{prefix}-*/_alias"), None).await;
    if !indices.as_object().unwrap().is_empty() {
        left.push("an index");
    }
    let template =
        others.ask_elasticsearch("GET", &format!("_index_template/{prefix}-snapshots"), None).await;
    if template["index_templates"].is_array() {
        left.push("a template");
    }
    left
}

#[tokio::test]
async fn what_a_test_left_goes_with_its_place_also_when_it_fails() {
    for fails in [false, true] {
        let servers = Servers::of(&Server::ALL).await;
        let prefix = servers.prefix().to_owned();
        let _holder = use_all(&servers).await;
        assert_eq!(left(&prefix).await, ["a queue", "a schema", "a key", "an index", "a template"]);
        let ended = tokio::spawn(async move {
            let _servers = servers;
            assert!(!fails, "this one is meant to fail");
        });
        assert_eq!(ended.await.is_err(), fails);
        assert_eq!(left(&prefix).await, [""; 0], "of one that failed: {fails}");
    }
}

#[tokio::test]
async fn a_door_breaks_and_the_way_past_it_does_not() {
    let servers = Servers::of(&[Server::Redis]).await;
    let answers = async |url: &str| {
        let client = redis::Client::open(url).unwrap();
        let Ok(mut redis) = client.get_multiplexed_async_connection().await else { return false };
        redis::cmd("PING").query_async::<()>(&mut redis).await.is_ok()
    };
    let door = servers.redis();
    assert!(answers(&door.url).await);
    door.proxy.cut();
    assert!(!answers(&door.url).await);
    let past = timeout(Duration::from_secs(60), servers.keys()).await;
    assert_eq!(past.unwrap(), [""; 0]);
}
