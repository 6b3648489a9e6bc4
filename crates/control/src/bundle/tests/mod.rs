//! The page as a person gets it, and the folder as it is written.

mod fixture;
mod written;

use bellwether_core::rollout::{Retreat, State, Step};
use insta::assert_snapshot;

use super::{
    facts::{Facts, Missing},
    page,
};

fn html(facts: &Facts) -> String {
    page::html(facts, &fixture::files())
}

fn text(facts: &Facts) -> String {
    page::text(facts, &fixture::files())
}

#[test]
fn errors_that_were_rolled_back() {
    let facts = fixture::errors();
    assert_snapshot!("errors.txt", text(&facts));
    assert_snapshot!("errors.html", html(&facts));
}

#[test]
fn an_operator_s_rollback_that_has_just_begun() {
    let facts = fixture::operator();
    assert_snapshot!("operator.txt", text(&facts));
    assert_snapshot!("operator.html", html(&facts));
}

#[test]
fn a_rollback_that_needs_a_person() {
    let facts = fixture::needs_attention();
    assert_snapshot!("needs_attention.txt", text(&facts));
    assert_snapshot!("needs_attention.html", html(&facts));
}

#[test]
fn a_part_that_was_taken_back_is_told_as_a_part() {
    let mut facts = fixture::errors();
    facts.rollout.state = State::Progressing { phase: 1, step: Step::Baking { look: 1 } };
    let record = facts.rollout.rollback.take().unwrap();
    facts.rollout.retreats.push(Retreat { agents: ["reviewer-2".into()].into(), record });
    facts.retreat = Some(0);
    let text = text(&facts);
    assert!(text.starts_with("Part of rollout 17 to v2 was taken back; the rest stands where it stood\n"), "{text}");
    assert!(
        text.contains("Each of 1 agent has a ready blue (v1)") && text.contains("`bellwether rollout resume 17`"),
        "{text}"
    );
}

const HOSTILE: &str = "<script>alert('x')</script><img src=x onerror=\"y\">&amp;\u{1b}[2J\u{202e}`<b>`</pre>";

#[test]
fn markup_of_an_agent_stays_text() {
    let mut facts = fixture::errors();
    facts.tails = vec![fixture::tail(11, HOSTILE, HOSTILE)];
    facts.fleet = HOSTILE.into();
    facts.record.fault = Some(HOSTILE.into());
    facts.record.validated = None;
    facts.missing.push(Missing { what: HOSTILE.into(), why: HOSTILE.into() });
    for view in &mut facts.agents {
        view.agent_type = HOSTILE.into();
    }
    if let bellwether_core::rollout::Trigger::Alarm(alarm) = &mut facts.record.trigger {
        alarm.why = HOSTILE.into();
        alarm.agents.push(HOSTILE.into());
        alarm.figures[0].name = HOSTILE.into();
        alarm.figures[0].unit = HOSTILE.into();
    }
    let html = html(&facts);
    for tag in ["<script", "<img", "<b>", "onerror=\""] {
        assert!(!html.contains(tag), "{tag} got through");
    }
    assert_eq!(html.matches("</pre>").count(), html.matches("<pre>").count());
    assert!(
        html.contains(
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&lt;img src=x onerror=&quot;y&quot;&gt;&amp;amp;"
        )
    );
    for page in [html, text(&facts)] {
        assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}'), "it steers what shows it");
    }
}

#[test]
fn nothing_on_the_page_comes_from_elsewhere() {
    let html = html(&fixture::errors());
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!html.contains(outside), "it has {outside}");
    }
}

#[test]
fn values_of_variables_are_not_on_the_page() {
    for page in [html(&fixture::errors()), text(&fixture::errors())] {
        assert!(page.contains("API_KEY") && !page.contains("hunter2") && !page.contains("correct-horse"));
    }
}
