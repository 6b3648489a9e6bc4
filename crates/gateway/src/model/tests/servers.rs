//! Model servers that are away, stand still, or do not generate.

use super::*;

#[tokio::test]
async fn a_server_that_is_away_gets_nothing_until_it_is_back_and_that_is_nobodys_failure_but_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let front = Front::new(&format!("http://{address}"), Limits::for_slots(8)).await;
    join_all((0..8).map(|_| async {
        let (status, _) = front.ask("/api/generate", &generate("m")).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
    }))
    .await;
    let refused = front.send(Method::POST, "/api/generate", &generate("m")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "nobody waits for what cannot come");
    assert!(refused.headers().contains_key("retry-after"));
    let calls = front.recorded(9).await;
    assert_eq!((calls.unreachable, calls.refused), (8, 1));

    let _server = Server::start_at(&address.to_string(), Script::default()).await;
    let back = async { while front.generate_as("a", "x").await.status() != StatusCode::OK {} };
    timeout(PATIENCE, back).await.expect("it is tried again");
}

#[tokio::test]
async fn of_two_servers_the_one_that_is_there_answers_for_both() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server = Server::start(Script::default()).await;
    let front = Front::of(&[&away, &server.url()], Limits { slots: vec![1, 1], ..Limits::for_slots(1) }).await;
    for _ in 0..8 {
        assert_eq!(front.ask("/api/generate", &generate("m")).await.0, StatusCode::OK);
    }
    assert_eq!(front.recorded(8).await.failed, 0);
}

#[tokio::test]
async fn a_server_shows_that_it_generates_with_a_call_of_its_own_class_and_slot() {
    let (front, server) = Front::scripted(Script::default(), 1).await;
    let show = || call::show(front.model.owner.clone(), ServerId(0));
    show().await;
    assert!(server.seen().is_empty(), "nothing is loaded that could be shown");
    assert_eq!(front.ask("/api/generate", &generate("m")).await.0, StatusCode::OK);
    poll(|| front.model.load().0 == 0).await;
    show().await;
    let shown = server.seen().pop().unwrap().body;
    assert!(shown.contains("\"num_predict\":1"), "{shown}");
    assert_eq!(front.model.load(), (0, 0));
    let failures = Script { refuses: Some(("num_predict", 500)), ..Script::default() };
    let (front, server) = Front::scripted(failures, 1).await;
    assert_eq!(front.ask("/api/generate", &generate("m")).await.0, StatusCode::OK);
    for _ in 0..5 {
        poll(|| front.model.load().0 == 0).await;
        call::show(front.model.owner.clone(), ServerId(0)).await;
    }
    let is_up = || front.model.slots().servers[0].1;
    assert!(!is_up(), "one that answers and does not generate is given up");
    let tried = server.seen().len();
    poll(|| server.seen().len() > tried).await;
    assert!(!is_up(), "that it answers is not enough to be given calls again");
}

#[tokio::test]
async fn a_call_on_which_nothing_moves_is_given_up_and_its_slot_is_free_again() {
    for head_came in [true, false] {
        let think = Duration::from_secs(if head_came { 0 } else { 600 });
        let script = Script { pause_after_first: head_came, think, ..Script::default() };
        let (front, server) = Front::scripted(script, 1).await;
        let body = generate("m");
        let call = front.ask("/api/generate", &body);
        tokio::pin!(call);
        poll_with(&mut call, || server.open_calls() == 1).await;
        front.model.owner.give_up_stalled(Duration::from_secs(60));
        poll_with(&mut call, || server.open_calls() == 1).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        front.model.owner.give_up_stalled(Duration::ZERO);
        let (status, text) = call.await;
        let wanted = if head_came { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
        assert_eq!(status, wanted, "{text}");
        assert!(text.contains("nothing came from the model server for too long"), "{text}");
        assert_eq!(front.recorded(1).await.failed, 1);
        poll(|| front.model.load().0 == 0).await;
    }
}
