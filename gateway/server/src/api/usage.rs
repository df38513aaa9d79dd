//! `GET /v1/usage` and `GET /admin/usage`: what was used, and what it cost.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use patchbay_store::{Group, Private, StoreError, UnixMs, UsageQuery, UsageSum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::Caller;
use super::error::ApiError;
use crate::app::App;
use crate::calendar::{DAY_MS, Date};
use crate::credential::Scope;

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    from: Option<String>,
    to: Option<String>,
    group_by: Option<String>,
    format: Option<Form>,
}

/// How it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    #[default]
    Json,
    Csv,
}

/// `GET /v1/usage`: the caller's own tenant.
///
/// # Errors
/// [`ApiError`]
pub async fn of_tenant(
    State(app): State<Arc<App>>,
    caller: Caller,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant(&app, Scope::UsageRead)?;
    answer(&app, Some(tenant.name.clone()), question).await
}

/// `GET /admin/usage`: all tenants.
///
/// # Errors
/// [`ApiError`]
pub async fn of_all(
    State(app): State<Arc<App>>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, ApiError> {
    answer(&app, None, question).await
}

async fn answer(
    app: &App,
    tenant: Option<String>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Ok(Query(question)) = question else {
        return Err(ApiError::field(
            "query",
            "The query takes `from`, `to`, `group_by` and `format` (json or csv).",
        ));
    };
    let query = UsageQuery {
        tenant,
        user: None,
        from: moment("from", question.from.as_deref())?,
        to: moment("to", question.to.as_deref())?,
        group_by: groups(question.group_by.as_deref().unwrap_or_default())?,
    };
    app.archive.settle().await;
    let sums = app.till.store.usage(&query).await.map_err(unavailable)?;
    Ok(match question.format.unwrap_or_default() {
        Form::Json => Json(json!({ "data": sums.iter().map(as_json).collect::<Vec<_>>() })).into_response(),
        Form::Csv => {
            let headers = [
                (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"usage.csv\""),
            ];
            (headers, as_csv(&query.group_by, &sums)).into_response()
        }
    })
}

/// A day (UTC, its beginning), or seconds since 1970.
fn moment(param: &'static str, text: Option<&str>) -> Result<Option<UnixMs>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let day = Date::parse(text).map(|date| date.days() * DAY_MS);
    let seconds = || text.parse::<u32>().ok().map(|seconds| i64::from(seconds) * 1000);
    let found = day.or_else(seconds).map(UnixMs);
    let wrong =
        || ApiError::field(param, format!("`{param}` is a day such as 2026-11-21, or seconds since 1970."));
    found.map(Some).ok_or_else(wrong)
}

const GROUPS: [(&str, Group); 5] = [
    ("tenant", Group::Tenant),
    ("user", Group::User),
    ("route", Group::Route),
    ("model", Group::Model),
    ("day", Group::Day),
];

/// In the order in which the store sums.
fn groups(text: &str) -> Result<Vec<Group>, ApiError> {
    let asked: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    if asked.iter().any(|word| !GROUPS.iter().any(|(known, _)| known == word)) {
        return Err(ApiError::field("group_by", "`group_by` takes tenant, user, route, model, day."));
    }
    Ok(GROUPS.iter().filter(|(word, _)| asked.contains(word)).map(|(_, group)| *group).collect())
}

fn unavailable(error: StoreError) -> ApiError {
    tracing::error!(%error, "usage cannot be read");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "The store cannot be read now.")
}

fn as_json(sum: &UsageSum) -> Value {
    let mut value = serde_json::to_value(sum).expect("a sum is JSON");
    if let Some(day) = sum.day {
        value["day"] = Date::of(day).to_string().into();
    }
    value["cost_usd"] = usd(sum.cost_micro_usd).into();
    value
}

/// Exact, as text: a JSON number would be a float.
fn usd(micro: i64) -> String {
    let sign = if micro < 0 { "-" } else { "" };
    let micro = micro.unsigned_abs();
    format!("{sign}{}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

const COUNTS: &str = "rows,estimated_rows,text_in,text_in_cached,audio_in,audio_in_cached,text_out,audio_out,\
                      duration_ms,cost_usd";

/// RFC 4180, with a head.
fn as_csv(groups: &[Group], sums: &[UsageSum]) -> String {
    let mut csv = String::new();
    for (name, _) in GROUPS.iter().filter(|(_, group)| groups.contains(group)) {
        csv.push_str(name);
        csv.push(',');
    }
    csv.push_str(COUNTS);
    csv.push_str("\r\n");
    for sum in sums {
        for group in groups {
            csv.push_str(&cell(&named(*group, sum)));
            csv.push(',');
        }
        counts(sum, &mut csv);
    }
    csv
}

fn named(group: Group, sum: &UsageSum) -> String {
    let text = match group {
        Group::Tenant => sum.tenant.clone(),
        Group::User => sum.user.as_ref().map(Private::reveal).cloned(),
        Group::Route => sum.route.clone(),
        Group::Model => sum.model.clone(),
        Group::Day => sum.day.map(|day| Date::of(day).to_string()),
    };
    text.unwrap_or_default()
}

fn counts(sum: &UsageSum, csv: &mut String) {
    let numbers = [
        sum.rows,
        sum.estimated_rows,
        sum.tokens.text_in,
        sum.tokens.text_in_cached,
        sum.tokens.audio_in,
        sum.tokens.audio_in_cached,
        sum.tokens.text_out,
        sum.tokens.audio_out,
        sum.duration_ms,
    ];
    for number in numbers {
        write!(csv, "{number},").expect("a String takes everything");
    }
    csv.push_str(&usd(sum.cost_micro_usd));
    csv.push_str("\r\n");
}

/// A text that no spreadsheet takes for a formula: one that begins like one is put behind an apostrophe (OWASP, "CSV
/// Injection").
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let guarded = if is_formula { format!("'{text}") } else { text.to_owned() };
    if guarded.contains(['"', ',', ';', '\n', '\r']) || is_formula {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_none_breaks_its_row() {
        for (text, expected) in [
            ("alice", "alice"),
            ("=1+2", "\"'=1+2\""),
            ("+49", "\"'+49\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("＝1", "\"'＝1\""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("a\r\n=1", "\"a\r\n=1\""),
            ("", ""),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sums_are_told_exactly() {
        for (micro, expected) in
            [(0, "0.000000"), (1, "0.000001"), (12_345_678, "12.345678"), (-5, "-0.000005")]
        {
            assert_eq!(usd(micro), expected);
        }
        assert_eq!(usd(i64::MIN), "-9223372036854.775808");
    }

    #[test]
    fn a_csv_has_a_head_and_a_line_for_each_sum() {
        let sum = UsageSum {
            tenant: Some("a".into()),
            user: Some(Private::new("=evil()".into())),
            day: Some(20_778),
            rows: 2,
            tokens: patchbay_core::Tokens { audio_out: 91, ..Default::default() },
            cost_micro_usd: 7_206,
            ..UsageSum::default()
        };
        assert_eq!(
            as_csv(&[Group::Tenant, Group::User, Group::Day], &[sum]),
            format!("tenant,user,day,{COUNTS}\r\na,\"'=evil()\",2026-11-21,2,0,0,0,0,0,0,91,0,0.007206\r\n")
        );
    }

    #[test]
    fn a_moment_is_a_day_or_a_second_and_nothing_else() {
        let ms = |text| moment("from", Some(text)).unwrap().unwrap().0;
        assert_eq!((ms("2026-11-21"), ms("1795219200")), (20_778 * DAY_MS, 1_795_219_200_000));
        assert_eq!(moment("from", None).unwrap(), None);
        for wrong in ["yesterday", "-1", "2026-13-01", "99999999999"] {
            assert!(moment("from", Some(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(groups("day, model,day").unwrap(), [Group::Model, Group::Day]);
        assert!(groups("price").is_err());
    }
}
