//! What a request wants of the model server, read from its body.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use bellwether_core::{
    id::ModelName,
    inference::{Runner, RunnerOptions},
};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// What [`bellwether_core::inference::Ask`] needs to know of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) runner: Runner,
    /// Vectors that it asks for; 1 for what generates.
    pub(super) inputs: u32,
    /// The model is to go once the call has ended (`keep_alive: 0`).
    pub(super) releases: bool,
}

struct Body<'a> {
    model: Option<String>,
    /// Where it stands, even where nothing does.
    options: Option<&'a RawValue>,
    input: Inputs,
    keep_alive: Option<&'a RawValue>,
}

impl Wanted {
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let Body { model, options, input, keep_alive } =
            serde_json::from_slice(body).map_err(|error| format!("the request is not JSON: {error}"))?;
        let model = model.filter(|model| !model.is_empty()).ok_or("model is required")?;
        let options = options.map_or(Ok(RunnerOptions::default()), runner_options)?;
        let runner = Runner { options, ..ModelName::new(&model).into() };
        Ok(Self { runner, inputs: input.0.max(1), releases: keep_alive.is_some_and(is_nothing) })
    }
}

impl Wanted {
    /// As the request reads once it is sent [`with_context`].
    pub(super) fn set_context(&mut self, size: Option<u64>) {
        let size = size.map(|size| size.to_string());
        let others = self.runner.options.0.iter().filter(|(name, _)| name != "num_ctx");
        let others = others.map(|(name, value)| (name.as_str(), value.as_str()));
        let options = others.chain(size.as_deref().map(|size| ("num_ctx", size)));
        self.runner.options = RunnerOptions::of(options.collect::<Vec<_>>());
    }
}

fn fields(object: &RawValue) -> Result<BTreeMap<Cow<'_, str>, &RawValue>, String> {
    let fields: Option<_> = serde_json::from_str(object.get()).map_err(|_| "options must be an object")?;
    Ok(fields.unwrap_or_default())
}

fn runner_options(options: &RawValue) -> Result<RunnerOptions, String> {
    Ok(RunnerOptions::of(fields(options)?.iter().map(|(name, value)| (name.as_ref(), value.get()))))
}

/// `0`, `"0"`, `"0s"` and the like.
fn is_nothing(keep_alive: &RawValue) -> bool {
    let text = keep_alive.get().trim_matches('"').trim_end_matches(char::is_alphabetic);
    text.parse::<f64>() == Ok(0.0)
}

/// The body with another context size, or with none of its own: `size` is none. All else stays byte for byte.
pub(super) fn with_context(body: &Bytes, size: Option<u64>) -> Bytes {
    match edit(body, size) {
        Some((from, to, text)) => [&body[..from], text.as_bytes(), &body[to..]].concat().into(),
        None => body.clone(),
    }
}

/// The bytes to replace, and what by. None where it is so already, and where the body is no request.
fn edit(body: &[u8], size: Option<u64>) -> Option<(usize, usize, String)> {
    let read: Body<'_> = serde_json::from_slice(body).ok()?;
    // A slice of the body itself, whose place is where it begins.
    let place = |part: &str| part.as_ptr() as usize - body.as_ptr() as usize;
    let Some(options) = read.options.filter(|options| options.get() != "null") else {
        let size = size?;
        let null = read.options.map(|null| (place(null.get()), null.get().len()));
        let text = format!("{{\"num_ctx\":{size}}}");
        return Some(match null {
            Some((at, long)) => (at, at + long, text),
            None => {
                let open = body.iter().position(|&byte| byte == b'{')? + 1;
                (open, open, format!("\"options\":{text},"))
            }
        });
    };
    let fields = fields(options).ok()?;
    match (fields.get("num_ctx").map(|value| value.get()), size) {
        (Some(now), Some(size)) if now == size.to_string() => None,
        (Some(now), size) => {
            let text = size.map_or_else(|| "null".to_owned(), |size| size.to_string());
            (now != text).then(|| (place(now), place(now) + now.len(), text))
        }
        (None, Some(size)) => {
            let open = place(options.get()) + 1;
            let comma = if fields.is_empty() { "" } else { "," };
            Some((open, open, format!("\"num_ctx\":{size}{comma}")))
        }
        (None, None) => None,
    }
}

/// An object, and its names in any case: as the model server reads it (Go's encoding/json). Else `Model` would run what `model`
/// was asked about. One that stands there twice is refused, because nobody says which of them counts.
impl<'de> Deserialize<'de> for Body<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body<'de>, A::Error> {
        let (mut model, mut options, mut input, mut keep_alive) = (None, None, None, None);
        while let Some(name) = map.next_key()? {
            match name {
                Name::Model => once(&mut model, map.next_value()?, "model")?,
                Name::Options => once(&mut options, map.next_value()?, "options")?,
                Name::Input => once(&mut input, map.next_value()?, "input")?,
                Name::KeepAlive => once(&mut keep_alive, map.next_value()?, "keep_alive")?,
                Name::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Body { model: model.flatten(), options, input: input.unwrap_or_default(), keep_alive })
    }
}

fn once<T, E: Error>(place: &mut Option<T>, value: T, name: &'static str) -> Result<(), E> {
    match place.replace(value) {
        Some(_) => Err(E::duplicate_field(name)),
        None => Ok(()),
    }
}

enum Name {
    Model,
    Options,
    Input,
    KeepAlive,
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(Name::Other)
    }
}

impl Visitor<'_> for Name {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self, E> {
        let names = [
            ("model", Self::Model),
            ("options", Self::Options),
            ("input", Self::Input),
            ("keep_alive", Self::KeepAlive),
        ];
        Ok(names.into_iter().find_map(|(name, it)| folds(text, name).then_some(it)).unwrap_or(self))
    }
}

/// Two letters beyond ASCII are a k and an s in another case.
fn folds(text: &str, name: &str) -> bool {
    let folded = |c| match c {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        c => c.to_ascii_lowercase(),
    };
    text.eq_ignore_ascii_case(name) || !text.is_ascii() && text.chars().map(folded).eq(name.chars())
}

/// How many texts there are to embed. A list of numbers is one text, as tokens.
#[derive(Default)]
struct Inputs(u32);

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Inputs(0))
    }
}

/// Of an element, only whether it is a number.
struct IsNumber(bool);

impl<'de> Deserialize<'de> for IsNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit())))
    }
}

impl<'de> Visitor<'de> for Inputs {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a list of texts")
    }

    fn visit_str<E>(self, _text: &str) -> Result<Self, E> {
        Ok(Self(1))
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self(0))
    }

    fn visit_bool<E>(self, _odd: bool) -> Result<Self, E> {
        Ok(Self(1))
    }

    fn visit_i64<E>(self, _odd: i64) -> Result<Self, E> {
        Ok(Self(1))
    }

    fn visit_u64<E>(self, _odd: u64) -> Result<Self, E> {
        Ok(Self(1))
    }

    fn visit_f64<E>(self, _odd: f64) -> Result<Self, E> {
        Ok(Self(1))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self(1))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        let (mut count, mut tokens) = (0u32, false);
        while let Some(IsNumber(is_number)) = list.next_element()? {
            count = count.saturating_add(1);
            tokens |= is_number;
        }
        Ok(Self(if tokens { 1 } else { count }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Wanted {
        Wanted::read(body.as_bytes()).unwrap()
    }

    #[test]
    fn model_and_options_are_found_beside_anything_else() {
        let wanted = read(r#"{"prompt":"x","model":"tinyllama","options":{"temperature":0,"num_ctx":4096}}"#);
        assert_eq!(wanted.runner.model, ModelName::new("tinyllama:latest"));
        assert_eq!(wanted.runner.options, RunnerOptions::of([("num_ctx", "4096")]));
        assert!(read(r#"{"model":"m","options":null}"#).runner.options.is_default());
        let why = |body: &str| Wanted::read(body.as_bytes()).unwrap_err();
        assert!(why(r#"{"model":""}"#).contains("required"));
        assert!(why(r#"{"prompt":"x"}"#).contains("required"));
        assert!(why("{").contains("not JSON"));
        assert!(why(r#"{"model":"m","options":3}"#).contains("options"));
    }

    #[test]
    fn names_are_read_in_any_case_and_only_once() {
        let wanted = read(r#"{"Model":"a","OPTIONS":{"num_ctx":8},"\u212aeep_alive":0}"#);
        assert_eq!((wanted.runner.model, wanted.releases), (ModelName::new("a"), true));
        assert_eq!(wanted.runner.options, RunnerOptions::of([("num_ctx", "8")]));
        assert_eq!(
            sized(r#"{"model":"a","option\u017f":{"num_ctx":8}}"#, Some(16)),
            r#"{"model":"a","option\u017f":{"num_ctx":16}}"#
        );
        let why = |body: &str| Wanted::read(body.as_bytes()).unwrap_err();
        assert!(why(r#"{"model":"a","Model":"gpt-oss:120b-cloud"}"#).contains("duplicate field `model`"));
        assert!(why(r#"["a",{"num_ctx":8}]"#).contains("expected an object"));
    }

    #[test]
    fn inputs_are_counted_as_vectors() {
        let inputs = |input: &str| read(&format!(r#"{{"model":"m","input":{input}}}"#)).inputs;
        assert_eq!(
            [r#""a""#, r#"["a","b","c"]"#, "[]", "null", "[1,2,3]", "[[1,2],[3]]"].map(inputs),
            [1, 3, 1, 1, 1, 2]
        );
        assert_eq!(inputs(r#"[{"type":"text","text":"a"}]"#), 1);
        assert_eq!(read(r#"{"model":"m"}"#).inputs, 1);
    }

    #[test]
    fn what_is_not_to_be_kept_is_told() {
        let releases = |value: &str| read(&format!(r#"{{"model":"m","keep_alive":{value}}}"#)).releases;
        assert!(["0", "\"0\"", "\"0s\"", "0.0"].into_iter().all(releases));
        assert!(!["5", "-1", "\"10m\"", "null"].into_iter().any(releases));
    }

    fn sized(body: &str, size: Option<u64>) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        String::from_utf8(with_context(&body, size).to_vec()).unwrap()
    }

    #[test]
    fn a_context_size_is_changed_and_nothing_else() {
        let body = r#"{ "model":"m", "options": {"seed":1, "num_ctx" : 2048 },"prompt":"\u00e4 \"num_ctx\":1"}"#;
        assert_eq!(sized(body, Some(4096)), body.replace("2048", "4096"));
        assert_eq!(sized(body, None), body.replace("2048", "null"));
        assert_eq!(sized(body, Some(2048)), body);
        assert_eq!(sized(r#" {"model":"m"}"#, Some(1)), r#" {"options":{"num_ctx":1},"model":"m"}"#);
        assert_eq!(sized(r#"{"options":null,"model":"m"}"#, Some(1)), r#"{"options":{"num_ctx":1},"model":"m"}"#);
        assert_eq!(sized(r#"{"options":{},"model":"m"}"#, Some(1)), r#"{"options":{"num_ctx":1},"model":"m"}"#);
        assert_eq!(
            sized(r#"{"options":{ "seed":1},"model":"m"}"#, Some(1)),
            r#"{"options":{"num_ctx":1, "seed":1},"model":"m"}"#
        );
        for same in [r#"{"model":"m"}"#, r#"{"options":{"seed":1},"model":"m"}"#, "{", "[]"] {
            assert_eq!(sized(same, None), same);
        }
    }
}
