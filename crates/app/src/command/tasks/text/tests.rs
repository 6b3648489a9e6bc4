use serde_json::json;

use super::*;

const SUBMITTED: u64 = 1_795_490_000_000;
const NOW: UnixMillis = UnixMillis(SUBMITTED + 95_400);

/// A task of the gateway, with `with` in place of what most have.
fn task(id: &str, state: &str, with: Value) -> Task {
    let mut shown = json!({
        "id": id, "agent": "builder", "type": "development", "state": state, "priority": "normal", "attempts": 0,
        "attempts_max": 3, "drawn": null, "chance": null, "served": null, "submitted_ms": SUBMITTED, "error": null,
        "not_before_ms": null, "begin_by_ms": null, "checkpoint": false,
    });
    let Value::Object(with) = with else { panic!("{with} is no object") };
    shown.as_object_mut().unwrap().extend(with);
    serde_json::from_value::<Value>(shown).and_then(|shown| serde_json::from_str(&shown.to_string())).unwrap()
}

fn some() -> Vec<Task> {
    vec![
        task("later", "delayed", json!({"not_before_ms": SUBMITTED + 120_000, "priority": "low"})),
        task("e41c0a5f9d3b7726", "queued", json!({"drawn": "blue"})),
        task("again", "queued", json!({"attempts": 1, "checkpoint": true, "error": "the model server answered 500"})),
        task("busy", "leased", json!({"attempts": 2, "served": "green", "priority": "high"})),
        task(
            "nightly-17",
            "completed",
            json!({"attempts": 1, "served": "blue", "served_agent": "tester", "drawn": "green", "finished_ms": SUBMITTED + 4_200,
                   "result": {"response": "four\nlines", "tokens": 12}}),
        ),
        task(
            "bad",
            "failed",
            json!({"attempts": 3, "served": "green", "served_agent": "builder", "finished_ms": SUBMITTED + 40_000,
                   "error": "out of memory"}),
        ),
        task(
            "late",
            "expired",
            json!({"begin_by_ms": SUBMITTED + 30_000, "finished_ms": SUBMITTED + 30_000, "error": "not begun by its deadline"}),
        ),
        task("unwanted", "cancelled", json!({"finished_ms": SUBMITTED + 1_000})),
    ]
}

#[test]
fn a_table_shows_where_every_task_is() {
    let counted =
        Counts { delayed: 1, queued: 1204, leased: 1, completed: 48_113, failed: 1, expired: 1, cancelled: 1 };
    let page = table(&some(), NOW).join("\n") + "\n" + &counts(&counted);
    insta::assert_snapshot!(page, @r"
    ID                AGENT    STATE      PRIORITY  TRIES  AGE    WHERE
    later             builder  delayed    low       0/3    1m35s  due in 24s
    e41c0a5f9d3b7726  builder  queued     normal    0/3    1m35s  waiting, drawn blue
    again             builder  queued     normal    1/3    1m35s  waiting
    busy              builder  leased     high      2/3    1m35s  on green
    nightly-17        builder  completed  normal    1/3    1m35s  blue, tester
    bad               builder  failed     normal    3/3    1m35s  green
    late              builder  expired    normal    0/3    1m35s  –
    unwanted          builder  cancelled  normal    0/3    1m35s  –
    1 delayed, 1,204 queued, 1 leased · 48,113 completed, 1 failed, 1 expired, 1 cancelled
    ");
    assert_eq!(table(&[], NOW), Vec::<String>::new());
}

#[test]
fn a_page_says_everything_that_is_known_and_what_to_do() {
    let pages: Vec<String> = some().iter().map(|task| page(task, NOW).join("\n")).collect();
    insta::assert_snapshot!(pages.join("\n\n"), @r#"
    task later
      state         delayed for another 24s, not begun yet
      for           builder (type development)
      priority      low
      submitted     2026-11-24 03:13:20 UTC, 1m35s ago
      not before    2026-11-24 03:15:20 UTC, in 24s

    `bellwether tasks show later --wait` waits for its end, `bellwether tasks cancel later` ends it

    task e41c0a5f9d3b7726
      state         queued, not begun yet
      for           builder (type development), drawn by lot while blue served it
      priority      normal
      submitted     2026-11-24 03:13:20 UTC, 1m35s ago

    `bellwether tasks show e41c0a5f9d3b7726 --wait` waits for its end, `bellwether tasks cancel e41c0a5f9d3b7726` ends it

    task again
      state         queued, after attempt 1 of 3
      for           builder (type development)
      priority      normal
      submitted     2026-11-24 03:13:20 UTC, 1m35s ago
      checkpoint    kept: the next attempt begins with it
      error         the model server answered 500

    `bellwether tasks show again --wait` waits for its end, `bellwether tasks cancel again` ends it

    task busy
      state         leased: attempt 2 of 3 is under way
      for           builder (type development)
      priority      high
      submitted     2026-11-24 03:13:20 UTC, 1m35s ago
      with          builder, green

    `bellwether tasks show busy --wait` waits for its end, `bellwether tasks cancel busy` ends it

    task nightly-17
      state         completed, attempt 1 of 3
      for           builder (type development), drawn by lot while green served it
      priority      normal
      submitted     2026-11-24 03:13:20 UTC, 1m35s ago
      ended         2026-11-24 03:13:24 UTC, 1m31s ago, 4s after it was submitted
      served by     tester, blue
      result
        {
          "response": "four\nlines",
          "tokens": 12
        }

    task bad
      state         failed, after attempt 3 of 3: a dead letter
      for           builder (type development)
      priority      normal
      submitted     2026-11-24 03:13:20 UTC, 1m35s ago
      ended         2026-11-24 03:14:00 UTC, 55s ago, 40s after it was submitted
      served by     builder, green
      error         out of memory

    `bellwether tasks retry bad` queues it again

    task late
      state         expired, never begun: a dead letter
      for           builder (type development)
      priority      normal
      submitted     2026-11-24 03:13:20 UTC, 1m35s ago
      to begin by   2026-11-24 03:13:50 UTC, 1m05s ago
      ended         2026-11-24 03:13:50 UTC, 1m05s ago, 30s after it was submitted
      error         not begun by its deadline

    `bellwether tasks retry late` queues it again

    task unwanted
      state         cancelled, never begun
      for           builder (type development)
      priority      normal
      submitted     2026-11-24 03:13:20 UTC, 1m35s ago
      ended         2026-11-24 03:13:21 UTC, 1m34s ago, 1s after it was submitted

    `bellwether tasks retry unwanted` queues it again
    "#);
}

#[test]
fn dead_letters_stand_with_their_last_error() {
    let gone: Vec<Task> =
        some().into_iter().filter(|task| matches!(task.state, State::Failed | State::Expired)).collect();
    insta::assert_snapshot!(dead(&gone, NOW).join("\n"), @r"
    bad  builder, failed after 3 of 3 attempts, 55s ago
        out of memory
    late  builder, expired, 1m05s ago
        not begun by its deadline

    2 dead letters; `bellwether tasks retry ID…` queues tasks again, `bellwether tasks retry --dead` all of them
    ");
}

#[test]
fn an_answer_is_what_the_agent_says_and_else_all_that_it_gave() {
    let of = |result: Value| answer(&task("t", "completed", json!({"result": result}))).unwrap();
    assert_eq!(of(json!("plain\ntext")), "plain\ntext");
    assert_eq!(of(json!({"response": "yes", "tokens": 3})), "yes");
    assert_eq!(of(json!({"output": {"deep": true}, "answer": "this"})), "this");
    assert_eq!(of(json!({"score": 1.5})), "{\n  \"score\": 1.5\n}");
    assert_eq!(answer(&task("t", "completed", json!({}))), None);
}

#[test]
fn what_an_agent_wrote_cannot_draw_on_the_terminal() {
    let evil = "red \u{1b}[31mtext\u{7}\r\nand \u{202e}back";
    let shown = task("t", "failed", json!({"error": evil, "result": evil, "attempts": 1}));
    let all = page(&shown, NOW).join("\n")
        + &answer(&shown).unwrap()
        + &dead(std::slice::from_ref(&shown), NOW).join("\n")
        + &table(&[shown], NOW).join("\n");
    assert!(!all.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']), "{all:?}");
}

#[test]
fn a_long_result_is_cut_and_says_so() {
    let long = task("t", "completed", json!({"result": "word ".repeat(3000)}));
    let lines = page(&long, NOW);
    assert!(lines.len() <= LINES_MAX + 10, "{}", lines.len());
    let last = lines.last().unwrap();
    assert!(last.contains("characters more") && last.contains("--output json"), "{last}");
    let many = task("t", "completed", json!({"result": (0..500).collect::<Vec<u32>>()}));
    assert!(page(&many, NOW).last().unwrap().contains("characters more"));
}
