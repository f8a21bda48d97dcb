//! The emulator's own doors: functions are invoked, and messages sent, as AWS does it.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::Stack;

/// The payload of the schedule.
const SWEEP: &str = include_str!("../../events/schedule_sweep.json");

impl Stack {
    /// Has the sweeper sweep now, beside its schedule.
    ///
    /// # Errors
    /// The sweep failed.
    pub async fn sweep(&self) -> anyhow::Result<()> {
        let functions = format!("{}/2015-03-31/functions/", self.address("emulator_url"));
        let listed: Value = self.http.get(&functions).send().await?.json().await?;
        let names = listed["Functions"].as_array().context("no functions")?.iter();
        let mut names = names.filter_map(|function| function["FunctionName"].as_str());
        let name = names.find(|name| name.contains("Sweeper")).context("no sweeper")?;
        let invocation = self.http.post(format!("{functions}{name}/invocations")).body(SWEEP).send().await?;
        if invocation.headers().contains_key("x-amz-function-error") {
            bail!("the sweep failed: {}", invocation.text().await?);
        }
        invocation.error_for_status()?;
        Ok(())
    }

    /// Puts a conversation on the queue of calls once more: a queue may deliver a message twice.
    ///
    /// # Errors
    /// The queue does not take it.
    pub async fn queue_again(&self, account: String, id: String) -> anyhow::Result<()> {
        let queues = self.sqs("ListQueues", &json!({})).await?;
        let urls = queues["QueueUrls"].as_array().context("no queues")?.iter();
        let mut calls = urls
            .filter_map(Value::as_str)
            .filter(|url| url.contains("Calls") && !url.contains("CallsDeadLetters"));
        let url = calls.next().context("no queue of calls")?;
        let job = json!({ "account_id": account, "conversation_id": id });
        self.sqs("SendMessage", &json!({ "QueueUrl": url, "MessageBody": job.to_string() })).await?;
        Ok(())
    }

    /// The name of the bucket of recordings.
    ///
    /// # Errors
    /// There is none.
    pub async fn recordings_bucket(&self) -> anyhow::Result<String> {
        let listed =
            self.http.get(self.address("emulator_url")).send().await?.error_for_status()?.text().await?;
        let names = listed.split("<Name>").filter_map(|rest| Some(rest.split_once("</Name>")?.0.to_owned()));
        names.into_iter().find(|name| name.contains("recordings")).context("no bucket of recordings")
    }

    /// The output of all functions since this time in milliseconds, metrics among it. The newest 10,000 lines of each.
    ///
    /// # Errors
    /// The emulator does not give it.
    pub async fn function_logs(&self, since_ms: i64) -> anyhow::Result<String> {
        let mut text = String::new();
        let groups = self.aws("Logs_20140328.DescribeLogGroups", &json!({})).await?;
        for group in groups["logGroups"].as_array().context("no log groups")? {
            let body = json!({ "logGroupName": group["logGroupName"], "startTime": since_ms });
            let found = self.aws("Logs_20140328.FilterLogEvents", &body).await?;
            for event in found["events"].as_array().context("no log events")? {
                text.push_str(event["message"].as_str().context("no message")?);
                text.push('\n');
            }
        }
        Ok(text)
    }

    /// Every item of the table, in DynamoDB's JSON.
    ///
    /// # Errors
    /// The emulator does not give it.
    pub async fn table_dump(&self) -> anyhow::Result<String> {
        Ok(Value::from(self.items().await?).to_string())
    }

    /// Makes everything due now that is due at any time, as if the time had come.
    ///
    /// # Errors
    /// The emulator does not do it.
    pub async fn make_all_due(&self, now_ms: i64) -> anyhow::Result<()> {
        for item in self.items().await? {
            if item["due_at"].is_null() {
                continue;
            }
            let body = json!({
                "TableName": self.address("table_name"),
                "Key": { "pk": item["pk"], "sk": item["sk"] },
                "UpdateExpression": "SET due_at = :now",
                // An item that was handled meanwhile is not due again.
                "ConditionExpression": "due_at = :before",
                "ExpressionAttributeValues": { ":now": { "N": now_ms.to_string() }, ":before": item["due_at"] },
            });
            let _ = self.aws("DynamoDB_20120810.UpdateItem", &body).await;
        }
        Ok(())
    }

    async fn items(&self) -> anyhow::Result<Vec<Value>> {
        let (mut items, mut start) = (vec![], Value::Null);
        loop {
            let mut body = json!({ "TableName": self.address("table_name") });
            if !start.is_null() {
                body["ExclusiveStartKey"] = start;
            }
            let mut page = self.aws("DynamoDB_20120810.Scan", &body).await?;
            items.extend(page["Items"].as_array().context("no items")?.iter().cloned());
            start = page["LastEvaluatedKey"].take();
            if start.is_null() {
                return Ok(items);
            }
        }
    }

    async fn sqs(&self, action: &str, body: &Value) -> anyhow::Result<Value> {
        self.aws(&format!("AmazonSQS.{action}"), body).await
    }

    async fn aws(&self, target: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(self.address("emulator_url")).header("x-amz-target", target);
        // The emulator chooses a service by the credential's scope, where the target does not say it.
        let service = target.split(['_', '.']).next().unwrap_or_default().to_lowercase();
        let service = if service == "amazonsqs" { "sqs" } else { &service };
        let scope = format!("AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request");
        let request = request.header("authorization", scope);
        let request = request.header("content-type", "application/x-amz-json-1.0").body(body.to_string());
        Ok(request.send().await?.error_for_status()?.json().await?)
    }
}
