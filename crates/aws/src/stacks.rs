//! Resources of a deployed stack, as `CloudFormation` reports them. Names of tables are generated, and a table
//! outlives its stack, so a name alone does not tell which table is in use.

use aws_config::SdkConfig;
use aws_sdk_cloudformation::{Client, error::ProvideErrorMetadata};

use crate::ServiceError;

/// The output of `template.yaml` that names the table.
const TABLE_OUTPUT: &str = "TableName";

/// Why the table of a stack was not found.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// No stack has this name in this region of this AWS account.
    #[error("no stack has this name in this region of this AWS account")]
    NotFound,
    /// The stack has no output `TableName`: it was not created from our template, or is not complete yet.
    #[error("the stack has no output {TABLE_OUTPUT}")]
    NoTable,
    /// `CloudFormation` did not carry out the request.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// The table of the stack called `stack`.
///
/// # Errors
///
/// See [`StackError`].
pub async fn table_of(config: &SdkConfig, stack: &str) -> Result<String, StackError> {
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
    let mut outputs = stack.outputs.unwrap_or_default().into_iter();
    outputs
        .find(|output| output.output_key() == Some(TABLE_OUTPUT))
        .and_then(|output| output.output_value)
        .ok_or(StackError::NoTable)
}
