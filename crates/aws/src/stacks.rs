//! Resources of a deployed stack, as `CloudFormation` reports them. Names of tables are generated, and a table
//! outlives its stack, so a name alone does not tell which table is in use. The same holds for queues.

use aws_config::SdkConfig;
use aws_sdk_cloudformation::{Client, error::ProvideErrorMetadata};

use crate::ServiceError;

/// The output of `template.yaml` that names the table.
const TABLE_OUTPUT: &str = "TableName";
/// The output that names the key.
const KEY_OUTPUT: &str = "SealingKeyId";

/// Why the table of a stack was not found.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// No stack has this name in this region of this AWS account.
    #[error("no stack has this name in this region of this AWS account")]
    NotFound,
    /// The stack lacks this output: it was not created from our template, or is not complete yet.
    #[error("the stack has no output {0}")]
    NoOutput(&'static str),
    /// `CloudFormation` did not carry out the request.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// A queue with a dead-letter queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueName {
    /// Calls to place.
    Calls,
    /// Webhook attempts.
    Deliveries,
}

/// The URLs of a queue and of its dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueUrls {
    /// The queue.
    pub queue: String,
    /// Its dead-letter queue.
    pub dead_letters: String,
}

/// The table of the stack called `stack`, and the KMS key that seals secrets within it.
///
/// # Errors
///
/// See [`StackError`].
pub async fn table_of(config: &SdkConfig, stack: &str) -> Result<(String, String), StackError> {
    outputs(config, stack, [TABLE_OUTPUT, KEY_OUTPUT]).await.map(|[table, key]| (table, key))
}

/// A queue of the stack called `stack`.
///
/// # Errors
///
/// See [`StackError`].
pub async fn queue_of(config: &SdkConfig, stack: &str, name: QueueName) -> Result<QueueUrls, StackError> {
    let names = match name {
        QueueName::Calls => ["QueueUrl", "CallsDeadLettersUrl"],
        QueueName::Deliveries => ["DeliveriesUrl", "DeliveriesDeadLettersUrl"],
    };
    outputs(config, stack, names).await.map(|[queue, dead_letters]| QueueUrls { queue, dead_letters })
}

async fn outputs<const N: usize>(
    config: &SdkConfig,
    stack: &str,
    names: [&'static str; N],
) -> Result<[String; N], StackError> {
    let request = Client::new(config).describe_stacks().stack_name(stack).send();
    let stacks = Box::pin(request).await.map_err(|error| {
        // `CloudFormation` has no error code for it.
        let message = error.message().unwrap_or_default();
        if error.code() == Some("ValidationError") && message.contains("does not exist") {
            return StackError::NotFound;
        }
        StackError::Service(ServiceError::of("DescribeStacks", &error))
    })?;
    let stack = stacks.stacks.unwrap_or_default().into_iter().next().ok_or(StackError::NotFound)?;
    let outputs = stack.outputs.unwrap_or_default();
    let value = |name: &'static str| {
        let output = outputs.iter().find(|output| output.output_key() == Some(name));
        output.and_then(|output| output.output_value()).map(str::to_owned).ok_or(StackError::NoOutput(name))
    };
    let values = names.into_iter().map(value).collect::<Result<Vec<_>, _>>()?;
    values.try_into().map_err(|_| StackError::NotFound)
}
