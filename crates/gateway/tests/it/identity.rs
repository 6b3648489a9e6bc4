//! Who is who, and who is nobody.

use bellwether_core::{id::InstanceId, port::gateway::GatewayIntent};
use hyper::{Method, StatusCode};

use crate::world::{BLUE, World};

#[tokio::test]
async fn an_instance_is_known_by_the_address_that_it_called() {
    let world = World::pulling().await;
    world.submit("t1").await;
    let answer = world.http.get("/api/tasks/next/worker").await;
    assert_eq!(answer.json()["id"], "t1");
    let report = r#"{"task_id":"t1","status":"completed","result":"x"}"#;
    assert_eq!(world.http.post("/api/tasks/complete", report).await.status, StatusCode::OK);
    world.done(GatewayIntent::Retire { instances: vec![InstanceId(BLUE)] }).await;
    assert_eq!(world.http.get("/api/tasks/next/worker").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.http.get("/health").await.status, StatusCode::OK, "the gateway's own");
}

#[tokio::test]
async fn a_token_opens_what_is_the_instances_and_nothing_else() {
    let world = World::pulling().await;
    for (method, path, status) in [
        (Method::GET, "/i/foreign/api/tasks/next/worker", StatusCode::UNAUTHORIZED),
        (Method::GET, "/i/token-1/api/tasks/next/other", StatusCode::NOT_FOUND),
        (Method::POST, "/i/token-1/api/tasks/next/worker", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/i/token-1/api/tags", StatusCode::NOT_FOUND),
        (Method::GET, "/i/token-1", StatusCode::NOT_FOUND),
        (Method::GET, "/tasks/../i/token-1/health", StatusCode::NOT_FOUND),
        (Method::GET, "/m/no%20name/api/tags", StatusCode::NOT_FOUND),
    ] {
        let answer = world.http.call(method, path, &[], "").await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
    }
    for body in ["", "{", "[]"] {
        let answer = world.http.post("/i/token-1/api/agents/heartbeat", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body:?}");
    }
    let odd = r#"{"task_id":"t","status":"processing"}"#;
    assert_eq!(world.http.post("/i/token-1/api/tasks/complete", odd).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn everything_else_is_the_model_servers() {
    // Nothing listens where the fleet file says that the model server is.
    let world = World::pulling().await;
    for path in ["/api/tags", "/v1/models", "/i/token-1/ollama/api/tags", "/m/notebook/api/tags"] {
        let answer = world.http.get(path).await;
        assert!(answer.status.is_server_error(), "{path}: {}", answer.status);
    }
    assert_eq!(world.instance(BLUE).await.held, 0, "a call that ended holds nothing");
}
