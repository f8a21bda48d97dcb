//! `template.yaml`, read as text: permissions name their actions and resources, and no message is lost.

/// A resource: its name, its type, and its lines without comments.
pub(crate) struct Resource<'t> {
    name: &'t str,
    kind: &'t str,
    lines: Vec<&'t str>,
}

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

    /// Whether it is of this type.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind == kind
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

/// The words of a member of a policy's statement: those behind its name, or those of the list below it.
fn words_of<'t>(statement: &[&'t str], member: &str) -> Vec<&'t str> {
    let mut found = vec![];
    let mut is_list = false;
    for line in statement {
        let words = match line.split_once(member) {
            Some((_, words)) => words,
            None if is_list && line.trim_start().starts_with("- ") => line,
            None => {
                is_list = false;
                continue;
            }
        };
        is_list = words.trim().is_empty() || is_list;
        let words = words.split([' ', ',', '[', ']', '{', '}', '"', '\'']);
        // A member that follows on the same line ends with a colon.
        found.extend(words.take_while(|word| !word.ends_with(':')).filter(|word| !matches!(*word, "" | "-")));
    }
    found
}

/// Grants of all actions of a kind, or on all resources.
pub(crate) fn wildcards(template: &str) -> Vec<String> {
    let mut found = vec![];
    for Resource { name, lines, .. } in resources(template) {
        let begins = |line: &&str| {
            let line = line.trim_start();
            line.starts_with("- Effect") || line.starts_with("- Sid") || line.contains("{ Effect:")
        };
        // The first part is no statement, but may have an action.
        let mut statements = vec![vec![]];
        for line in lines {
            if begins(&line) {
                statements.push(vec![]);
            }
            statements.last_mut().expect("there is one").push(line);
        }
        for statement in statements {
            if statement.iter().any(|line| line.contains("Effect: Deny")) {
                continue;
            }
            let actions = words_of(&statement, "Action:");
            found.extend(
                actions.iter().filter(|action| action.contains('*')).map(|it| format!("{name}: {it}")),
            );
            let is_known = !actions.is_empty() && actions.iter().all(|it| WITHOUT_RESOURCE.contains(it));
            if words_of(&statement, "Resource:").contains(&"*") && !is_known {
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

/// Metrics that must have an alarm and have none, each with the resource that its dimension names.
pub(crate) fn unwatched(template: &str) -> Vec<String> {
    let resources = resources(template);
    let functions = resources.iter().filter(|it| it.kind == "AWS::Serverless::Function");
    let mut wanted: Vec<(&str, String)> =
        functions.map(|it| ("Errors", format!("!Ref {} ", it.name))).collect();
    wanted.extend(
        [
            ("5xx", "!Ref HttpApi "),
            ("IteratorAge", "!Ref Relay "),
            ("RecursiveInvocationsDropped", ""),
            ("SweepLag", ""),
            ("CallLoad", "!Ref AWS::StackName "),
            ("ProviderFaults", "!Ref AWS::StackName "),
        ]
        .map(|(metric, dimension)| (metric, dimension.to_owned())),
    );
    wanted.retain(|(metric, dimension)| {
        let watches = |it: &Resource<'_>| {
            let notifies = it.mentions("!Ref AlarmTopicArn");
            it.kind == "AWS::CloudWatch::Alarm"
                && it.value("MetricName") == Some(metric)
                && it.mentions(dimension)
                && notifies
        };
        !resources.iter().any(watches)
    });
    wanted.into_iter().map(|(metric, dimension)| format!("{metric} {dimension}")).collect()
}

/// Resources with data that a deleted stack would take along, or that a failed creation would leave behind.
pub(crate) fn losable(template: &str) -> Vec<&str> {
    let stateful = ["AWS::DynamoDB::Table", "AWS::KMS::Key", "AWS::S3::Bucket"];
    let mut found = resources(template);
    found.retain(|it| {
        let is_kept = it.value("DeletionPolicy") == Some("RetainExceptOnCreate")
            && it.value("UpdateReplacePolicy") == Some("Retain");
        stateful.contains(&it.kind) && !is_kept
    });
    found.into_iter().map(|it| it.name).collect()
}

/// Resources that grant the deletion of any item of the table.
pub(crate) fn deleters(template: &str) -> Vec<&str> {
    let mut found = resources(template);
    found.retain(|it| {
        let deletes = it.mentions("dynamodb:DeleteItem") || it.mentions("dynamodb:BatchWriteItem");
        deletes && !it.mentions("dynamodb:LeadingKeys")
    });
    found.into_iter().map(|it| it.name).collect()
}

/// Settings of the media workers without which calls are cut off, and that are missing.
pub(crate) fn unsafe_workers(template: &str) -> Vec<&'static str> {
    let settings = [
        // Calls are handed over before the balancer cuts their sockets.
        "deregistration_delay.timeout_seconds, Value: \"300\"",
        "desiredStatus: [STOPPED]",
        // A full worker fails the balancer's check, and is not replaced for it.
        "HealthCheckGracePeriodSeconds: 2147483647",
        "Command: [CMD, /media, health]",
        // It scales on calls.
        "MetricName: CallLoad",
        "StopTimeout: 120",
    ];
    let resources = resources(template);
    settings.into_iter().filter(|text| !resources.iter().any(|it| it.mentions(text))).collect()
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
        - Effect: Allow
          Resource: "*"
          Action:
            - ssm:GetParameter
        - Effect: Allow
          Action: '*'
          Resource: !GetAtt Jobs.Arn
        - Effect: Allow
          Resource: ["*"]
          NotAction: iam:PassRole
        - { Effect: Allow, Action: 'kms:*', Resource: !GetAtt Jobs.Arn }
        - Sid: TlsOnly
          Effect: Deny
          Action: s3:*
Outputs:
  Other:
    Value: "*"
"#;

    #[test]
    fn wildcards_are_found() {
        assert_eq!(
            wildcards(TEMPLATE),
            [
                "Role: s3:Get*",
                "Role: [\"sqs:SendMessage\"] on every resource",
                "Role: [\"ssm:GetParameter\"] on every resource",
                "Role: *",
                "Role: [\"iam:PassRole\"] on every resource",
                "Role: kms:*",
            ]
        );
    }

    #[test]
    fn unwatched_metrics_and_unsafe_workers_are_found() {
        let unwatched = unwatched(TEMPLATE);
        assert_eq!(unwatched.len(), 7);
        assert_eq!(unwatched[0], "Errors !Ref Worker ");
        assert_eq!(unsafe_workers(TEMPLATE).len(), 6);
    }

    #[test]
    fn losable_data_and_deleters_are_found() {
        let template = "Resources:
  Kept:
    Type: AWS::S3::Bucket
    DeletionPolicy: RetainExceptOnCreate
    UpdateReplacePolicy: Retain
  Lost:
    Type: AWS::KMS::Key
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
  Anything:
    Action: dynamodb:DeleteItem
  Some:
    Action: dynamodb:DeleteItem
    Condition: dynamodb:LeadingKeys
";
        assert_eq!(losable(template), ["Lost"]);
        assert_eq!(deleters(template), ["Anything"]);
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
