//! Dates as text.

/// The seconds of a day.
pub(crate) const DAY: i64 = 86_400;

/// The date of a count of days since 1970-01-01, in the years 0000 to 9999.
pub(crate) fn date(days: i64) -> Option<String> {
    // H. Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March, in eras of 400 years.
    let days = days.checked_add(719_468)?;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (0..=9999).contains(&year).then(|| format!("{year:04}-{month:02}-{day:02}"))
}
