//! Days of the Gregorian calendar in UTC, counted from 1970-01-01.

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// A day by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Of the common era.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
}

/// Days of 400 years, after which the calendar repeats itself.
const ERA_DAYS: i64 = 146_097;
/// From 0000-03-01, where an era begins, to 1970-01-01.
const EPOCH_DAY: i64 = 719_468;

impl Date {
    /// The day that is `days` after 1970-01-01. Years begin in March here, so that the leap day is their last.
    #[must_use]
    pub fn of(days: i64) -> Self {
        let shifted = days + EPOCH_DAY;
        let (era, of_era) = (shifted.div_euclid(ERA_DAYS), shifted.rem_euclid(ERA_DAYS));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self { year: year + era * 400 + i64::from(month <= 2), month, day }
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let from_march = (self.month + 9) % 12;
        let of_year = (153 * from_march + 2) / 5 + self.day - 1;
        era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAY
    }

    /// Reads `2026-11-21`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut number = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let date = Self { year: number(4)?, month: number(2)?, day: number(2)? };
        // A day that does not exist is named otherwise when it is counted.
        (parts.next().is_none() && (1..=12).contains(&date.month) && Self::of(date.days()) == date)
            .then_some(date)
    }

    /// The first of the month.
    #[must_use]
    pub fn month_start(self) -> Self {
        Self { day: 1, ..self }
    }

    /// The first of the next month.
    #[must_use]
    pub fn next_month(self) -> Self {
        let (year, month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        Self { year, month, day: 1 }
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_named_as_the_calendar_names_them() {
        for (name, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("2026-11-21", 20_778),
            ("2100-02-28", 47_540),
            ("2100-03-01", 47_541),
        ] {
            assert_eq!(Date::parse(name).unwrap().days(), days, "{name}");
            assert_eq!(Date::of(days).to_string(), name);
        }
    }

    #[test]
    fn every_day_of_four_centuries_has_a_name_of_its_own_in_order() {
        let mut before = Date::of(-100_000);
        for days in -99_999..100_000 {
            let date = Date::of(days);
            assert!(before < date && date.days() == days);
            assert_eq!(date.next_month().month_start(), date.next_month());
            before = date;
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            "2026",
            "2026-11",
            "2026-11-31",
            "2025-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-1-01",
            "2026-11-21-1",
            "+026-11-21",
            "2026-11-2é",
        ] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }
}
