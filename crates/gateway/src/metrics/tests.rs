use std::time::Duration;

use bellwether_core::{
    id::Side,
    inference::{BreakerFigures, BreakerState},
    observation::{Calls, Cell, Pushes, Signs, Tasks},
};

use super::*;

fn second(model: &str, calls: Calls) -> Second {
    let (tasks, pushes, signs) = (Tasks::default(), Pushes::default(), Signs::default());
    let (drawn, served) = (Side::Green, Side::Green);
    let cell =
        Cell { agent: "writer".into(), model: ModelName::new(model), drawn, served, tasks, calls, pushes, signs };
    Second { cells: vec![cell], model_switches: 3, ..Second::default() }
}

fn rendered(metrics: &Metrics) -> String {
    metrics.render(&Slots::default(), &[]).unwrap()
}

#[test]
fn calls_add_up_by_agent_side_and_model() {
    let metrics = Metrics::default();
    let mut calls = Calls { succeeded: 2, failed: 3, unreachable: 1, output_tokens: 9, ..Calls::default() };
    calls.queue_wait.record(40_000);
    calls.slot_micros = 1_500_000;
    metrics.second(&second("m", calls.clone()), Vec::new());
    metrics.second(&second("m", calls), Vec::new());
    let text = rendered(&metrics);
    let of = r#"agent="writer",side="green",model="m:latest""#;
    for line in [
        format!(r#"bellwether_model_calls_total{{{of},outcome="succeeded"}} 4"#),
        format!(r#"bellwether_model_calls_total{{{of},outcome="failed"}} 4"#),
        format!(r#"bellwether_model_calls_total{{{of},outcome="unreachable"}} 2"#),
        format!(r#"bellwether_model_tokens_total{{{of},kind="output"}} 18"#),
        format!("bellwether_model_slot_seconds_total{{{of}}} 3.0"),
        format!(r#"bellwether_model_queue_wait_seconds_bucket{{le="0.05",{of}}} 2"#),
        format!(r#"bellwether_model_queue_wait_seconds_bucket{{le="0.025",{of}}} 0"#),
        "bellwether_model_switches_total 6".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("refused"), "what never happened has no line");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn models_beyond_the_bound_are_counted_together() {
    let metrics = Metrics::default();
    for n in 0..MODELS_MAX + 5 {
        metrics.second(&second(&format!("m{n}"), Calls { refused: 1, ..Calls::default() }), Vec::new());
    }
    let text = rendered(&metrics);
    let models = text.lines().filter(|line| line.contains(r#"outcome="refused""#)).count();
    assert_eq!(models, MODELS_MAX + 1);
    assert!(text.contains(r#"model="other",outcome="refused"} 5"#));
}

#[test]
fn calls_are_told_as_the_conventions_name_them() {
    let metrics = Metrics::default();
    let told = Told {
        operation: Operation::Chat,
        model: ModelName::new("m"),
        error: None,
        duration: Duration::from_millis(300),
        first_token: Some(Duration::from_millis(50)),
        per_token: Some(Duration::from_millis(30)),
        input_tokens: 20,
        output_tokens: 0,
    };
    metrics.second(&Second::default(), vec![told]);
    let text = rendered(&metrics);
    let of = r#"gen_ai_operation_name="chat",gen_ai_provider_name="ollama",gen_ai_request_model="m:latest""#;
    for line in [
        format!(r#"gen_ai_server_request_duration_seconds_bucket{{le="0.32",{of}"#),
        format!(r#"gen_ai_server_time_to_first_token_seconds_bucket{{le="0.06",{of}"#),
        format!(r#"gen_ai_server_time_per_output_token_seconds_bucket{{le="0.05",{of}"#),
        format!(r#"gen_ai_client_token_usage_bucket{{le="64.0",{of},gen_ai_token_type="input"}} 1"#),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(r#"gen_ai_token_type="output""#));
}

#[test]
fn breakers_have_the_names_of_resilience4j_and_leave_when_they_are_gone() {
    let metrics = Metrics::default();
    let figures = BreakerFigures {
        failure_rate: Some(0.6),
        buffered: 5,
        buffered_failed: 3,
        failed: 3,
        not_permitted: 7,
        ..BreakerFigures::default()
    };
    let shown = Shown { name: "writer/green".to_owned(), state: BreakerState::Open, figures };
    let text = metrics.render(&Slots::default(), &[shown]).unwrap();
    for line in [
        r#"resilience4j_circuitbreaker_state{name="writer/green",state="open"} 1"#,
        r#"resilience4j_circuitbreaker_state{name="writer/green",state="closed"} 0"#,
        r#"resilience4j_circuitbreaker_failure_rate{name="writer/green"} 60.0"#,
        r#"resilience4j_circuitbreaker_buffered_calls{name="writer/green",kind="failed"} 3"#,
        r#"resilience4j_circuitbreaker_not_permitted_calls_total{name="writer/green",kind="not_permitted"} 7"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!rendered(&metrics).contains("_state{"));
}
