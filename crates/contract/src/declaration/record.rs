//! Records, the objects of the API, and the declaration of their members.
//!
//! [`Members`] is where to start: each of its methods reads a member, or describes it.

use schemars::SchemaGenerator;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    definitions::{Form, define},
    examples::needs_example,
    field_type::{FieldType, any_of_null, or_null},
};
use crate::validation::{Field, Object, Read, Rejected};

/// An object of the API: its name in the schemas, its description and its members.
pub(crate) struct Record<'c, T> {
    name: &'static str,
    about: &'static str,
    variants: Option<Variants>,
    /// The member that the schema lists last, wherever it is declared.
    last: Option<&'static str>,
    #[expect(clippy::type_complexity, reason = "it is the one place where it is written out")]
    members: Box<dyn Fn(&mut Members<'_>) -> Read<T> + 'c>,
}

/// The alternatives of a record that is tagged by its member `provider`.
#[derive(Clone, Copy)]
struct Variants {
    /// Name and description of each.
    all: &'static [(&'static str, &'static str)],
    /// The alternative of an object without a `provider`; `None`: the member is required.
    default: Option<&'static str>,
}

/// A parameter of a query.
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its description.
    pub about: &'static str,
    /// Its schema.
    pub schema: Value,
}

impl<'c, T: 'c> Record<'c, T> {
    /// A record with these members.
    pub(crate) fn new(
        name: &'static str,
        about: &'static str,
        members: impl Fn(&mut Members<'_>) -> Read<T> + 'c,
    ) -> Self {
        Self { name, about, variants: None, last: None, members: Box::new(members) }
    }

    /// A record whose members depend on its `provider`, which [`Members::provider`] returns. Without a default,
    /// the member is required.
    pub(crate) fn by_provider(
        name: &'static str,
        about: &'static str,
        all: &'static [(&'static str, &'static str)],
        default: Option<&'static str>,
        members: impl Fn(&mut Members<'_>) -> Read<T> + 'c,
    ) -> Self {
        Self { variants: Some(Variants { all, default }), ..Self::new(name, about, members) }
    }

    /// The same record, whose schema lists this member last: errors are in the order of declaration, and a member that
    /// all alternatives have is declared first.
    #[must_use]
    pub(crate) fn last(self, member: &'static str) -> Self {
        Self { last: Some(member), ..self }
    }

    /// Reads an object.
    pub(crate) fn read(&self, field: &Field<'_>) -> Read<T> {
        let object = field.object()?;
        let provider = match self.variants {
            None => Err(Rejected),
            Some(Variants { all, default: Some(default) }) => {
                let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
                object.provider(default, &names)
            }
            Some(Variants { all, default: None }) => {
                let names: Vec<_> = all.iter().map(|(name, _)| (*name, *name)).collect();
                object.required("provider", |field| field.choice(&names))
            }
        };
        (self.members)(&mut Members { provider, mode: Mode::Read(&object) })
    }

    /// The record as the type of a field.
    #[must_use]
    pub(crate) fn field(self) -> FieldType<'c, T> {
        let record = std::rc::Rc::new(self);
        let reader = record.clone();
        FieldType::new(move |field| reader.read(field), move |generator, form| record.schema(generator, form))
    }

    /// Adds the record to the generator's definitions, and refers to it.
    pub(crate) fn schema(&self, generator: &mut SchemaGenerator, form: Form) -> Value {
        let name = format!("{}{}", self.name, form.suffix());
        define(generator, name, |generator| self.body(generator, form))
    }

    /// The schema itself.
    pub(crate) fn body(&self, generator: &mut SchemaGenerator, form: Form) -> Value {
        let mut schema = match self.variants {
            None => self.describe(generator, form, Err(Rejected)).object(form),
            Some(variants) => self.union(generator, form, variants),
        };
        schema["description"] = self.about.into();
        schema
    }

    /// Every alternative has a schema of its own, named for its provider: generators cannot name anonymous ones.
    fn union(&self, generator: &mut SchemaGenerator, form: Form, variants: Variants) -> Value {
        let mut mapping = Map::new();
        for &(provider, about) in variants.all {
            let name = format!("{}{}{}", capitalized(provider), self.name, form.suffix());
            let is_default = variants.default == Some(provider);
            let alternative = define(generator, name, |generator| {
                self.describe(generator, form, Ok(provider)).variant(form, provider, about, is_default)
            });
            mapping.insert(provider.to_owned(), alternative["$ref"].clone());
        }
        let all = variants.all.iter().map(|(provider, _)| json!({ "$ref": mapping[*provider] }));
        json!({
            "oneOf": all.collect::<Vec<_>>(),
            "discriminator": { "propertyName": "provider", "mapping": mapping },
        })
    }

    /// The members as parameters of a query.
    pub(crate) fn parameters(&self, generator: &mut SchemaGenerator) -> Vec<Parameter> {
        let members = self.describe(generator, Form::Shown, Err(Rejected)).members;
        let parameter = |Member { name, about, mut schema, presence }| {
            if let Presence::Default(default) = presence {
                schema["default"] = default;
            }
            Parameter { name, about, schema }
        };
        members.into_iter().map(parameter).collect()
    }

    fn describe(
        &self,
        generator: &mut SchemaGenerator,
        form: Form,
        provider: Read<&'static str>,
    ) -> Description {
        let description = Description { members: vec![] };
        let mut members = Members { provider, mode: Mode::Describe { generator, form, description } };
        // Nothing is read, so there is no value.
        let _ = (self.members)(&mut members);
        match members.mode {
            Mode::Describe { mut description, .. } => {
                // Stable: the others keep their order.
                description.members.sort_by_key(|member| Some(member.name) == self.last);
                description
            }
            Mode::Read(_) => Description { members: vec![] },
        }
    }
}

/// The members of a record, while it is read or described.
pub(crate) struct Members<'m> {
    provider: Read<&'static str>,
    mode: Mode<'m>,
}

enum Mode<'m> {
    Read(&'m Object<'m>),
    Describe { generator: &'m mut SchemaGenerator, form: Form, description: Description },
}

impl Members<'_> {
    /// The alternative that the member `provider` selects; rejected if it is unknown, or if the record has no
    /// alternatives.
    pub(crate) fn provider(&self) -> Read<&'static str> {
        self.provider
    }

    /// Whether the object has this member.
    pub(crate) fn has(&self, name: &str) -> bool {
        matches!(&self.mode, Mode::Read(object) if object.member(name).is_some())
    }

    /// A member that must be present.
    pub(crate) fn required<'t, T: 't>(
        &mut self,
        name: &'static str,
        field_type: impl Into<FieldType<'t, T>>,
        about: &'static str,
    ) -> Read<T> {
        let field_type = field_type.into();
        match &self.mode {
            Mode::Read(object) => object.required(name, |field| field_type.read(field)),
            Mode::Describe { .. } => self.declare(name, &field_type, about, Presence::Required),
        }
    }

    /// A member that may be absent or null.
    pub(crate) fn optional<'t, T: 't>(
        &mut self,
        name: &'static str,
        field_type: impl Into<FieldType<'t, T>>,
        about: &'static str,
    ) -> Read<Option<T>> {
        let field_type = field_type.into();
        match &self.mode {
            Mode::Read(object) => object.optional(name, |field| field_type.read(field)),
            Mode::Describe { .. } => self.declare(name, &field_type, about, Presence::Optional),
        }
    }

    /// An optional member of one alternative. In another alternative it is an error, not ignored.
    pub(crate) fn only_with<'t, T: 't>(
        &mut self,
        provider: &'static str,
        name: &'static str,
        field_type: impl Into<FieldType<'t, T>>,
        about: &'static str,
        error: &str,
    ) -> Read<Option<T>> {
        match (&self.mode, self.provider) {
            (Mode::Read(object), Ok(other)) if other != provider => {
                object.optional(name, |field| field.reject("value_error", error))
            }
            (Mode::Describe { .. }, Ok(other)) if other != provider => Err(Rejected),
            _ => self.optional(name, field_type, about),
        }
    }

    /// A member that may be absent or null: then it has its default.
    pub(crate) fn or<'t, T: Serialize + 't>(
        &mut self,
        name: &'static str,
        field_type: impl Into<FieldType<'t, T>>,
        default: T,
        about: &'static str,
    ) -> Read<T> {
        let field_type = field_type.into();
        match &self.mode {
            Mode::Read(object) => object.or(name, default, |field| field_type.read(field)),
            Mode::Describe { .. } => {
                self.declare(name, &field_type, about, Presence::Default(json!(default)))
            }
        }
    }

    /// A member of something that is stored: absent, it keeps its `current` value; null, it has its default,
    /// unless null is a value of the type.
    pub(crate) fn setting<'t, T: Serialize + Clone + 't>(
        &mut self,
        name: &'static str,
        field_type: impl Into<FieldType<'t, T>>,
        current: &T,
        default: T,
        about: &'static str,
    ) -> Read<T> {
        let field_type = field_type.into();
        match &self.mode {
            Mode::Read(object) => change(object, name, &field_type, current, default),
            Mode::Describe { .. } => {
                self.declare(name, &field_type, about, Presence::Default(json!(default)))
            }
        }
    }

    /// A member of something that is stored: absent, it keeps its `current` value; null, it is cleared.
    pub(crate) fn change<'t, T: Clone + Default + 't>(
        &mut self,
        name: &'static str,
        field_type: impl Into<FieldType<'t, T>>,
        current: &T,
        about: &'static str,
    ) -> Read<T> {
        let field_type = field_type.into();
        match &self.mode {
            Mode::Read(object) => change(object, name, &field_type, current, T::default()),
            Mode::Describe { .. } => self.declare(name, &field_type, about, Presence::Optional),
        }
    }

    /// The members of another record, which stand in this object.
    pub(crate) fn include<'t, T: 't>(&mut self, record: &Record<'t, T>) -> Read<T> {
        (record.members)(self)
    }

    /// Records an error at the member `name`, whether or not it is present.
    pub(crate) fn reject<T>(&self, name: &str, kind: &'static str, msg: impl Into<String>) -> Read<T> {
        match &self.mode {
            Mode::Read(object) => object.wrong(name, kind, msg),
            Mode::Describe { .. } => Err(Rejected),
        }
    }

    fn declare<T, V>(
        &mut self,
        name: &'static str,
        field_type: &FieldType<'_, T>,
        about: &'static str,
        presence: Presence,
    ) -> Read<V> {
        if let Mode::Describe { generator, form, description } = &mut self.mode {
            let schema = field_type.schema(generator, form.inside());
            description.members.push(Member { name, about, schema, presence });
        }
        Err(Rejected)
    }
}

fn change<T: Clone>(
    object: &Object<'_>,
    name: &str,
    field_type: &FieldType<'_, T>,
    current: &T,
    default: T,
) -> Read<T> {
    match object.member(name) {
        None => Ok(current.clone()),
        Some(field) if field.value().is_null() && !field_type.takes_null => Ok(default),
        Some(field) => field_type.read(&field),
    }
}

/// The name with its first letter as a capital.
fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// The declaration of a record.
struct Description {
    members: Vec<Member>,
}

struct Member {
    name: &'static str,
    about: &'static str,
    schema: Value,
    presence: Presence,
}

enum Presence {
    Required,
    /// The member may be absent or null in a request. An answer always has it.
    Optional,
    /// Likewise, and then it has this default.
    Default(Value),
}

impl Description {
    fn object(self, form: Form) -> Value {
        let (properties, required) = self.properties(form);
        let mut schema = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        schema
    }

    /// The schema says that the member `provider` is required, also where its absence has a meaning: clients choose
    /// the alternative by it.
    fn variant(self, form: Form, name: &str, about: &str, is_default: bool) -> Value {
        let (properties, mut required) = self.properties(form);
        let default =
            if is_default && form == Form::Input { " Without a provider it is this one." } else { "" };
        let provider =
            json!({ "type": "string", "enum": [name], "description": format!("Always `{name}`.{default}") });
        let properties: Map<_, _> =
            [("provider".to_owned(), provider)].into_iter().chain(properties).collect();
        required.insert(0, "provider".into());
        json!({ "type": "object", "description": about, "properties": properties, "required": required })
    }

    /// The schema of each member, and the names of those that are always there.
    fn properties(self, form: Form) -> (Map<String, Value>, Vec<Value>) {
        let mut required = vec![];
        let property = |Member { name, about, schema, presence }| {
            if form == Form::Shown || (form == Form::Input && matches!(presence, Presence::Required)) {
                required.push(name.into());
            }
            let mut schema: Value = match (presence, form) {
                (_, Form::Update) | (Presence::Optional, _) => or_null(schema),
                (Presence::Required, _) => schema,
                // An answer has every member, so no client needs its default.
                (Presence::Default(default), Form::Shown) if default.is_null() || default.is_object() => {
                    schema
                }
                (Presence::Default(default), Form::Shown) => {
                    let mut schema = schema;
                    if needs_example(&schema) {
                        schema["examples"] = json!([default]);
                    }
                    schema
                }
                // Generators cannot read objects as defaults.
                (Presence::Default(Value::Object(_)), Form::Input) => any_of_null(schema),
                (Presence::Default(default), Form::Input) => {
                    let mut schema = any_of_null(schema);
                    schema["default"] = default;
                    schema
                }
            };
            schema["description"] = about.into();
            (name.to_owned(), schema)
        };
        let properties = self.members.into_iter().map(property).collect();
        (properties, required)
    }
}

impl<'c, T: 'c> From<Record<'c, T>> for FieldType<'c, T> {
    fn from(record: Record<'c, T>) -> Self {
        record.field()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        declaration::{Schemas, types},
        validation::FieldErrors,
    };

    const PROVIDERS: &[(&str, &str)] = &[("one", "The first."), ("two", "The second.")];

    fn record<'c>() -> Record<'c, (f64, Option<String>)> {
        let record = Record::by_provider("Thing", "A thing.", PROVIDERS, Some("one"), |members| {
            let name = members.optional("name", types::text(), "A name.");
            match members.provider()? {
                "two" => Ok((0.0, name?)),
                _ => Ok((members.or("speed", types::number(0.0..=2.0), 1.0, "0 to 2.")?, name?)),
            }
        });
        record.last("name")
    }

    fn read(body: &Value) -> Result<(f64, Option<String>), usize> {
        let errors = FieldErrors::default();
        record().read(&Field::body(body, &errors)).map_err(|Rejected| errors.into_vec().len())
    }

    #[test]
    fn a_record_is_read_with_its_defaults() {
        assert_eq!(read(&json!({})), Ok((1.0, None)));
        assert_eq!(
            read(&json!({ "provider": null, "speed": null, "name": "a" })),
            Ok((1.0, Some("a".into())))
        );
        assert_eq!(read(&json!({ "provider": "two", "speed": 7 })), Ok((0.0, None)));
        assert_eq!(read(&json!({ "provider": "three", "name": 1 })), Err(2));
    }

    #[test]
    fn both_forms_are_described_from_the_same_declaration() {
        let mut schemas = Schemas::default();
        assert_eq!(schemas.input(&record()), json!({ "$ref": "#/components/schemas/ThingInput" }));
        record().schema(&mut schemas.0, Form::Shown);
        let all = schemas.into_definitions();
        let (shown, input) = (&all["OneThing"], &all["OneThingInput"]);
        assert_eq!(shown["required"], json!(["provider", "speed", "name"]));
        assert_eq!(shown["properties"]["provider"]["enum"], json!(["one"]));
        assert_eq!(shown["properties"]["speed"].get("default"), None);
        assert_eq!(shown["properties"]["speed"]["examples"], json!([1.0]));
        assert_eq!(shown["properties"]["speed"]["maximum"], 2.0);
        assert_eq!(input["required"], json!(["provider"]));
        assert_eq!(input["properties"]["speed"]["default"], 1.0);
        assert_eq!(input["properties"]["speed"]["anyOf"][1], json!({ "type": "null" }));
        assert_eq!(all["TwoThingInput"]["required"], json!(["provider"]));
        let references =
            ["OneThingInput", "TwoThingInput"].map(|name| format!("#/components/schemas/{name}"));
        let union = json!({
            "description": "A thing.",
            "oneOf": [{ "$ref": references[0] }, { "$ref": references[1] }],
            "discriminator": {
                "propertyName": "provider",
                "mapping": { "one": references[0], "two": references[1] },
            },
        });
        assert_eq!(all["ThingInput"], union);
    }
}
