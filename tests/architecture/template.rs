//! `template.yaml`, read as text: permissions name their actions and resources, and no message is lost.

/// A resource: its name, its type, and its lines without comments.
pub(crate) struct Resource<'t> {
    name: &'t str,
    kind: &'t str,
    lines: Vec<&'t str>,
}

/// The services whose actions the template grants.
const SERVICES: [&str; 10] =
    ["cloudwatch", "dynamodb", "ecr", "kms", "lambda", "logs", "s3", "secretsmanager", "sqs", "xray"];

/// Actions that support no resource, and so are granted on all of them.
const WITHOUT_RESOURCE: [&str; 3] =
    ["ecr:GetAuthorizationToken", "xray:PutTelemetryRecords", "xray:PutTraceSegments"];

impl<'t> Resource<'t> {
    /// The first value of a property, at any depth.
    fn value(&self, property: &str) -> Option<&'t str> {
        self.lines.iter().find_map(|line| line.trim().strip_prefix(property)?.strip_prefix(": "))
    }

    fn number(&self, property: &str) -> Option<u32> {
        self.value(property)?.split_whitespace().next()?.parse().ok()
    }

    fn mentions(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }
}

/// The resources of a template.
pub(crate) fn resources(template: &str) -> Vec<Resource<'_>> {
    let mut found: Vec<Resource<'_>> = vec![];
    let section = template.lines().skip_while(|line| *line != "Resources:").skip(1);
    for line in section.take_while(|line| line.is_empty() || line.starts_with([' ', '#'])) {
        let line = line.split(" # ").next().unwrap_or_default();
        if line.trim_start().starts_with('#') {
            continue;
        }
        let name = line.strip_prefix("  ").filter(|name| !name.starts_with(' '));
        if let Some(name) = name.and_then(|name| name.strip_suffix(':')) {
            found.push(Resource { name, kind: "", lines: vec![] });
            continue;
        }
        let Some(resource) = found.last_mut() else { continue };
        if let Some(kind) = line.strip_prefix("    Type: ") {
            resource.kind = kind;
        }
        resource.lines.push(line);
    }
    found
}

/// Grants of all actions of a kind, or on all resources.
pub(crate) fn wildcards(template: &str) -> Vec<String> {
    let mut found = vec![];
    for Resource { name, lines, .. } in resources(template) {
        let (mut actions, mut denies) = (vec![], false);
        for line in lines {
            // A statement begins.
            if line.trim_start().starts_with("- Effect") || line.trim_start().starts_with("- Sid") {
                (actions, denies) = (vec![], false);
            }
            denies |= line.contains("Effect: Deny");
            let words = line.split([' ', ',', '[', ']', '{', '}', '"']);
            let is_action =
                |word: &&str| word.split_once(':').is_some_and(|(service, _)| SERVICES.contains(&service));
            actions.extend(words.filter(is_action).map(|word| word.trim_end_matches(':')));
            if denies {
                continue;
            }
            found.extend(
                actions.iter().filter(|action| action.contains('*')).map(|it| format!("{name}: {it}")),
            );
            if matches!(line.trim(), "Resource: \"*\"" | "Resource: '*'" | "Resource: [\"*\"]" | "- \"*\"")
                && !actions.iter().all(|action| WITHOUT_RESOURCE.contains(action))
            {
                found.push(format!("{name}: {actions:?} on every resource"));
            }
        }
    }
    found
}

/// Ways in which messages can be lost, or worked on twice at once.
pub(crate) fn unsafe_queues(template: &str) -> Vec<String> {
    let resources = resources(template);
    let default = template.lines().find_map(|line| line.strip_prefix("    Timeout: ")?.parse().ok());
    let mut found = vec![];
    for queue in resources.iter().filter(|resource| resource.kind == "AWS::SQS::Queue") {
        let name = queue.name;
        if name.ends_with("DeadLetters") {
            let metric = format!("!GetAtt {name}.QueueName");
            let is_alarm = |it: &Resource<'_>| it.kind == "AWS::CloudWatch::Alarm" && it.mentions(&metric);
            if !resources.iter().any(is_alarm) {
                found.push(format!("{name} has no alarm"));
            }
            continue;
        }
        if !queue.mentions(&format!("deadLetterTargetArn: !GetAtt {name}DeadLetters.Arn")) {
            found.push(format!("{name} has no dead-letter queue"));
        }
        let source = format!("Queue: !GetAtt {name}.Arn");
        let functions =
            resources.iter().filter(|it| it.kind == "AWS::Serverless::Function" && it.mentions(&source));
        for function in functions {
            let timeout = function.number("Timeout").or(default).unwrap_or(u32::MAX / 6);
            if queue.number("VisibilityTimeout").is_none_or(|visibility| visibility < 6 * timeout) {
                found.push(format!(
                    "{name} shows its messages again before six times {}'s timeout",
                    function.name
                ));
            }
        }
    }
    for function in resources.iter().filter(|it| it.kind == "AWS::Serverless::Function") {
        let count = |text: &str| function.lines.iter().filter(|line| line.contains(text)).count();
        if count("Type: DynamoDB") != count("OnFailure: { Type: SQS") {
            found.push(format!("{} reads a stream without a destination for failures", function.name));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"
Globals:
  Function:
    Timeout: 15
Resources:
  # A queue.
  Jobs:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 89 # seconds
  JobsDeadLetters:
    Type: AWS::SQS::Queue
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      Events:
        Jobs:
          Properties:
            Queue: !GetAtt Jobs.Arn
        Stored:
          Type: DynamoDB
  Role:
    Type: AWS::IAM::Role
    Properties:
      Statement:
        - Effect: Allow
          Action: ["s3:Get*", "s3:PutObject"]
          Resource: !Sub "${Bucket.Arn}/*"
        - Effect: Allow
          Action: sqs:SendMessage
          Resource: "*"
        - Effect: Allow # this action knows no resources
          Action: ecr:GetAuthorizationToken
          Resource: "*"
        - Sid: TlsOnly
          Effect: Deny
          Action: s3:*
Outputs:
  Other:
    Value: "*"
"#;

    #[test]
    fn wildcards_are_found() {
        let mut found = wildcards(TEMPLATE);
        found.dedup();
        assert_eq!(found, ["Role: s3:Get*", "Role: [\"sqs:SendMessage\"] on every resource"]);
    }

    #[test]
    fn unsafe_queues_are_found() {
        assert_eq!(
            unsafe_queues(TEMPLATE),
            [
                "Jobs has no dead-letter queue",
                "Jobs shows its messages again before six times Worker's timeout",
                "JobsDeadLetters has no alarm",
                "Worker reads a stream without a destination for failures",
            ]
        );
    }
}
