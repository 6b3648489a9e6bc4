//! What agents may get wrong, and what they are told. Nothing of it loses a task.

use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::world::{Answer, BLUE, GREEN, World};

struct Case {
    what: &'static str,
    line: &'static str,
    body: String,
    status: u16,
    says: &'static str,
}

fn case(what: &'static str, line: &'static str, body: impl Into<String>, status: u16, says: &'static str) -> Case {
    Case { what, line, body: body.into(), status, says }
}

fn cases() -> Vec<Case> {
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    let large = |bytes: usize| format!(r#"{{"task_id":"held","status":"completed","result":"{}"}}"#, "x".repeat(bytes));
    let complete = "POST /i/token-1/api/tasks/complete";
    let progress = "POST /i/token-1/api/tasks/progress";
    let status = "PUT /i/token-1/api/v1/tasks/held/status";
    vec![
        case("unknown token", "GET /i/nobody/api/tasks/next/worker", "", 401, "no instance has this token"),
        case("unknown token", "POST /i/nobody/api/tasks/complete", "{}", 401, "no instance has this token"),
        case("revoked token", "GET /i/token-3/api/tasks/next/worker", "", 403, "this instance was removed"),
        case("revoked token", "PUT /i/token-3/api/v1/tasks/held/status", "{}", 403, "this instance was removed"),
        case("wrong type", "GET /i/token-1/api/tasks/next/painter", "", 404, "this instance is of type worker"),
        case("no type", "GET /i/token-1/api/tasks/next/", "", 404, "this instance is of type worker"),
        case("broken escape", "GET /i/token-1/api/tasks/next/%zz", "", 404, "this instance is of type worker"),
        case("wrong path", "POST /i/token-1/api/tasks/finish", "{}", 404, "there is nothing at this path"),
        case("wrong path", "GET /i/token-1/", "", 404, "there is nothing at this path"),
        case("wrong method", "POST /i/token-1/api/tasks/next/worker", "", 405, "another method"),
        case("wrong method", "GET /i/token-1/api/tasks/complete", "", 405, "another method"),
        case("wrong method", "POST /i/token-1/api/v1/tasks/held/status", "", 405, "another method"),
        case("wrong method", "PATCH /i/token-1/api/v1/agents/a", "", 405, "another method"),
        case("wrong agent", "GET /i/token-1/api/v1/agents/b/tasks", "", 403, "this instance is of agent a"),
        case("no body", "POST /i/token-1/api/agents/register", "", 400, "not the JSON that is wanted"),
        case("no JSON", "POST /i/token-1/api/agents/heartbeat", "status=ok", 400, "not the JSON that is wanted"),
        case("no object", "POST /i/token-1/api/agents/heartbeat", "[1]", 400, "not the JSON that is wanted"),
        case("deep", "POST /i/token-1/api/agents/heartbeat", deep, 400, "recursion limit"),
        case("large", "POST /i/token-1/api/agents/heartbeat", large(65_536), 413, "larger than 65536 bytes"),
        case("no body", complete, "", 400, "not the JSON that is wanted"),
        case("half a body", complete, r#"{"task_id":"held","status":"comp"#, 400, "not the JSON that is wanted"),
        case("no object", complete, r#""held""#, 400, "not the JSON that is wanted"),
        case("large", complete, large(1 << 20), 413, "larger than 1048576 bytes"),
        case("no id", complete, r#"{"status":"completed"}"#, 400, "task_id is missing"),
        case("null id", complete, r#"{"task_id":null,"status":"completed"}"#, 400, "task_id is missing"),
        case("id of a wrong kind", complete, r#"{"task_id":["held"],"status":"completed"}"#, 400, "task_id is neither"),
        case("no status", complete, r#"{"task_id":"held"}"#, 400, "status is missing"),
        case("status of a wrong kind", complete, r#"{"task_id":"held","status":1}"#, 400, "status is not text"),
        case("unknown status", complete, r#"{"task_id":"held","status":"done"}"#, 400, "completed or failed"),
        case(
            "attempt",
            complete,
            r#"{"task_id":"held","status":"completed","attempt":"1"}"#,
            400,
            "attempt is not a number",
        ),
        case(
            "attempt",
            complete,
            r#"{"task_id":"held","status":"completed","attempt":0}"#,
            400,
            "attempt is not a number",
        ),
        case("retry", complete, r#"{"task_id":"held","status":"failed","retry":"no"}"#, 400, "retry is neither"),
        case(
            "unknown task",
            complete,
            r#"{"task_id":"unknown","status":"completed","result":"x"}"#,
            404,
            "no task has this id",
        ),
        case(
            "never leased",
            complete,
            r#"{"task_id":"waiting","status":"completed","result":"x"}"#,
            409,
            "is not, or no longer",
        ),
        case(
            "another's",
            complete,
            r#"{"task_id":"others","status":"completed","result":"x"}"#,
            409,
            "is not, or no longer",
        ),
        case(
            "a stale attempt",
            complete,
            r#"{"task_id":"held","status":"completed","result":"x","attempt":1}"#,
            409,
            "is not, or no longer",
        ),
        case(
            "a future attempt",
            complete,
            r#"{"task_id":"held","status":"failed","attempt":3}"#,
            409,
            "is not, or no longer",
        ),
        case("no id", progress, "{}", 400, "task_id is missing"),
        case("unknown task", progress, r#"{"task_id":"unknown"}"#, 404, "no task has this id"),
        case("never leased", progress, r#"{"task_id":"waiting"}"#, 409, "is not, or no longer"),
        case(
            "a stale attempt",
            progress,
            r#"{"task_id":"held","attempt":1,"checkpoint":1}"#,
            409,
            "is not, or no longer",
        ),
        case(
            "large",
            progress,
            format!(r#"{{"task_id":"held","checkpoint":"{}"}}"#, "x".repeat(65_536)),
            413,
            "larger than 65536",
        ),
        case("unknown status", status, r#"{"status":"done"}"#, 400, "processing, completed or failed"),
        case("another id", status, r#"{"task_id":"waiting","status":"completed"}"#, 400, "not the id in the path"),
        case("broken escape", "PUT /i/token-1/api/v1/tasks/%ff/status", "{}", 400, "not text"),
        case(
            "a stale attempt",
            status,
            r#"{"status":"completed","result":"x","attempt":1}"#,
            409,
            "is not, or no longer",
        ),
    ]
}

impl World {
    async fn line(&self, line: &str, body: &str) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        self.http.call(Method::from_bytes(method.as_bytes()).unwrap(), path, &[], body).await
    }

    /// Blue holds `held` in its second attempt and green `others`; `waiting` waits for anybody.
    async fn crowded() -> Self {
        let mut world = Self::pulling().await;
        let gone = crate::world::card(3, bellwether_core::id::Side::Green, None);
        world.done(bellwether_core::port::gateway::GatewayIntent::Enrol { cards: vec![gone] }).await;
        let instances = vec![bellwether_core::id::InstanceId(3)];
        world.done(bellwether_core::port::gateway::GatewayIntent::Retire { instances }).await;
        world.cut_over(GREEN).await;
        world.submit("others").await;
        assert_eq!(world.next_id(GREEN).await.as_deref(), Some("others"));
        world.cut_over(BLUE).await;
        world.submit("held").await;
        assert_eq!(world.next_id(BLUE).await.as_deref(), Some("held"));
        assert_eq!(world.next(BLUE).await.json()["attempt"], 2);
        world.submit("waiting").await;
        world
    }
}

#[tokio::test]
async fn each_mistake_is_answered_as_it_is_documented_and_changes_nothing() {
    let world = World::crowded().await;
    let states = async || {
        let mut states = Vec::new();
        for id in ["held", "others", "waiting"] {
            states.push(world.http.get(&format!("/tasks/{id}")).await.json());
        }
        states
    };
    let before = states().await;
    for Case { what, line, body, status, says } in cases() {
        let answer = world.line(line, &body).await;
        let body: String = body.chars().take(80).collect();
        assert_eq!(answer.status.as_u16(), status, "{what}: {line} {body}: {}", answer.text());
        let problem: Value = answer.json();
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{what}: {line} {body}: {problem}");
        assert_eq!(problem["status"], status, "{what}");
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{what}");
    }
    assert_eq!(states().await, before, "nothing was lost, and nothing ended");
    assert_eq!(world.complete(BLUE, "held").await, StatusCode::OK);
    assert_eq!(world.complete(GREEN, "others").await, StatusCode::OK);
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("waiting"));
    assert_eq!(world.complete(BLUE, "waiting").await, StatusCode::OK);
}

#[tokio::test]
async fn a_request_has_up_to_a_hundred_headers() {
    let world = World::pulling().await;
    let names: Vec<String> = (0..100).map(|number| format!("x-{number}")).collect();
    // The client adds one of its own, which is the host's.
    for (count, status) in [(99, StatusCode::OK), (100, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)] {
        let headers: Vec<_> = names.iter().take(count).map(|name| (name.as_str(), "1")).collect();
        assert_eq!(world.http.call(Method::GET, "/tasks", &headers, "").await.status, status, "{count}");
    }
}

#[tokio::test]
async fn clocks_of_agents_are_not_asked() {
    let world = World::pulling().await;
    let stamps = [
        "",
        r#","timestamp":"1970-01-01T00:00:00Z""#,
        r#","timestamp":"9999-12-31T23:59:59+14:00""#,
        r#","timestamp":-1"#,
        r#","timestamp":1e300"#,
        r#","timestamp":"yesterday""#,
        r#","timestamp":null"#,
        r#","timestamp":{"at":[]}"#,
    ];
    for (n, stamp) in stamps.into_iter().enumerate() {
        for path in
            ["api/agents/register", "api/agents/heartbeat", "api/v1/agents/register", "api/v1/agents/a/heartbeat"]
        {
            let answer =
                world.http.post(&format!("/i/token-1/{path}"), &format!(r#"{{"status":"active"{stamp}}}"#)).await;
            assert_eq!(answer.status, StatusCode::OK, "{path} {stamp}");
        }
        world.submit(&format!("t{n}")).await;
        world.next_id(BLUE).await;
        for (path, status) in
            [("api/tasks/progress", ""), ("api/tasks/complete", r#","status":"completed","result":"x""#)]
        {
            let body = format!(r#"{{"task_id":"t{n}"{status}{stamp}}}"#);
            let answer = world.http.post(&format!("/i/token-1/{path}"), &body).await;
            assert_eq!(answer.status, StatusCode::OK, "{path} {stamp}: {}", answer.text());
        }
    }
    assert_eq!(world.http.get("/tasks").await.json()["completed"], stamps.len());
}

#[tokio::test]
async fn a_result_is_kept_as_it_was_written_however_deep_it_is() {
    let world = World::pulling().await;
    world.submit("t1").await;
    world.next_id(BLUE).await;
    let deep = format!("{}1.10{}", "[".repeat(500), "]".repeat(500));
    let report = format!(r#"{{"task_id":"t1","status":"completed","result":{deep}}}"#);
    assert_eq!(world.http.post("/i/token-1/api/tasks/complete", &report).await.status, StatusCode::OK);
    assert!(world.http.get("/tasks/t1").await.text().contains(&deep));
}
