//! The block `language_model` of an agent's configuration.

use std::{cell::RefCell, collections::BTreeSet, sync::LazyLock};

use serde_json::{Map, Value, json};
use switchboard_model::{
    agents::{Function, LanguageModel, ModelSettings, Tool, ToolKind},
    catalogue::{self, Service},
};

use super::CREDENTIAL;
use crate::{
    declaration::{FieldType, Record, types},
    references::References,
    validation::{Read, Rejected},
};

/// Maximum depth of a tool's `parameters`: levels of nested objects and lists, the outermost included. Vendors
/// allow at most ten nested objects, which are twenty levels.
const MAX_PARAMETERS_DEPTH: usize = 32;

static PROVIDERS: LazyLock<Vec<(&str, &str)>> =
    LazyLock::new(|| catalogue::described_providers(Service::LanguageModel));

/// `current` is the block that this one replaces.
pub(super) fn language_model<'c>(
    current: &'c LanguageModel,
    references: &'c References,
) -> Record<'c, LanguageModel> {
    let about = "A language model and its settings.";
    let default = LanguageModel::default().provider();
    Record::by_provider("LanguageModel", about, &PROVIDERS, Some(default), move |members| {
        let provider = members.provider();
        let kept = match (current, provider) {
            (LanguageModel::Openai(settings), Ok("openai"))
            | (LanguageModel::Google(settings), Ok("google")) => Some(&*settings.model),
            _ => None,
        };
        let settings = members.include(&settings(provider, kept, references));
        match provider? {
            "openai" => settings.map(LanguageModel::Openai),
            "google" => settings.map(LanguageModel::Google),
            _ => Err(Rejected),
        }
    })
}

fn settings<'c>(
    provider: Read<&'static str>,
    kept: Option<&'c str>,
    references: &'c References,
) -> Record<'c, ModelSettings> {
    let about = "The settings that both language model providers take.";
    Record::new("ModelSettings", about, move |members| {
        let default = ModelSettings::default();
        let default_model = match provider {
            Ok("google") => "gemini-3.8-flash".to_owned(),
            _ => default.model,
        };
        let kept = kept.unwrap_or(&default_model).to_owned();
        let model =
            members.or("model", types::name_or(kept), default_model, "The vendor's name of the model.");
        let tools = members.or("tools", tools(), default.tools, "The functions that the model may call.");
        let temperature = members.or(
            "temperature",
            types::number(0.0..=2.0),
            default.temperature,
            "0 to 2; 0 is the most predictable.",
        );
        let max_tokens = members.or(
            "max_tokens",
            types::positive(),
            default.max_tokens,
            "Maximum length of a response, in tokens.",
        );
        let credential_id = members.or(
            "credential_id",
            references.credential(provider).nullable(),
            default.credential_id,
            CREDENTIAL,
        );
        Ok(ModelSettings {
            model: model?,
            tools: tools?,
            temperature: temperature?,
            max_tokens: max_tokens?,
            credential_id: credential_id?,
        })
    })
}

/// The names of an agent's tools: a model could not tell two tools of one name apart.
type Names = RefCell<BTreeSet<String>>;

fn tools<'c>() -> FieldType<'c, Vec<Tool>> {
    FieldType::new(
        |field| {
            let names = Names::default();
            field.list(0, |item| tool(&names).read(item))
        },
        |generator, form| types::list(0, tool(&Names::default())).schema(generator, form),
    )
}

fn tool(names: &Names) -> Record<'_, Tool> {
    Record::new("Tool", "A function the model may call.", |members| {
        let kind = members.required(
            "type",
            types::choice(&[("function", ToolKind::Function)]),
            "Always `function`.",
        );
        let function =
            members.required("function", function(names), "The function's name, purpose and parameters.");
        Ok(Tool { kind: kind?, function: function? })
    })
}

fn function(names: &Names) -> Record<'_, Function> {
    Record::new("Function", "A function as the model sees it.", |members| {
        let name = members.required(
            "name",
            name(names),
            "`[A-Za-z0-9_]`, 1 to 63 characters; no two tools of an agent have the same name.",
        );
        let description =
            members.optional("description", types::text(), "The purpose of the function, for the model.");
        let parameters = members.optional(
            "parameters",
            parameters(),
            "A JSON Schema object; null: the function takes no parameters.",
        );
        Ok(Function { name: name?, description: description?, parameters: parameters? })
    })
}

fn name(names: &Names) -> FieldType<'_, String> {
    const PATTERN: &str = "^[A-Za-z0-9_]{1,63}$";
    let read = |field: &crate::validation::Field<'_>| {
        let name = field.str()?;
        let is_valid = (1..=63).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_valid {
            return field
                .reject("string_pattern_mismatch", format!("String should match pattern '{PATTERN}'"));
        }
        if !names.borrow_mut().insert(name.to_owned()) {
            return field.reject("value_error", "Another tool has this name");
        }
        Ok(name.to_owned())
    };
    FieldType::plain(read, json!({ "type": "string", "pattern": PATTERN }))
}

fn parameters<'c>() -> FieldType<'c, Map<String, Value>> {
    FieldType::plain(
        |field| match field.value() {
            value if depth(value) > MAX_PARAMETERS_DEPTH => {
                field.reject("value_error", "Should be nested at most 32 levels deep")
            }
            Value::Object(schema) => Ok(schema.clone()),
            _ => field.reject("dict_type", "Input should be an object"),
        },
        json!({ "type": "object", "additionalProperties": true }),
    )
}

/// Levels of nested objects and lists. The JSON parser has bounded them already, so the recursion is bounded too.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agents::tests::read;

    #[test]
    fn every_provider_of_the_catalogue_has_a_block() {
        for provider in catalogue::providers(Service::LanguageModel) {
            let body = json!({ "language_model": { "provider": provider } });
            assert_eq!(read(&body).unwrap().language_model.provider(), provider);
        }
    }
}
