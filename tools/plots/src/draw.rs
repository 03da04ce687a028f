// SPDX-License-Identifier: GPL-2.0

//! A plot as an SVG: horizontal bars, a row of them for each label. Text stays text. Nothing depends on the
//! fonts of the machine, so the same chart gives the same bytes everywhere.

use std::{error::Error, ops::Range};

use plotters::coord::ranged1d::{AsRangedCoord, DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::charts::{Chart, Scale};

const WIDTH: u32 = 900;
/// The title and the legend are above the bars, the scale is below.
const ABOVE: u32 = 72;
const BELOW: u32 = 52;
const BAR: u32 = 15;
/// Between two rows.
const GAP: u32 = 11;
/// Labels of rows are to the left of the bars. A letter of the font is so wide at most, in the mean.
const LETTER: usize = 7;

const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const FAINT: RGBColor = RGBColor(0xd1, 0xd9, 0xe0);
/// Of series, in their order. They differ in brightness, too.
const COLOURS: [RGBColor; 3] = [
    RGBColor(0x09, 0x69, 0xda),
    RGBColor(0xf0, 0x9a, 0x5c),
    RGBColor(0x6e, 0x77, 0x81),
];

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// A number with a comma before each three digits.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The ends of a scale, so that all values and the numbers behind their bars have room, and the places of
/// its lines.
fn ends(chart: &Chart) -> Result<(f64, f64, Vec<f64>), String> {
    let values = || {
        chart
            .rows
            .iter()
            .flat_map(|row| &row.values)
            .flatten()
            .copied()
    };
    let least = values().fold(f64::INFINITY, f64::min);
    let most = values().fold(0.0, f64::max);
    if most <= 0.0 || (least <= 0.0 && chart.scale == Scale::Logarithmic) {
        return Err(format!("{}: there is nothing to draw", chart.name));
    }
    Ok(match chart.scale {
        Scale::Linear => {
            let decade = 10f64.powf(most.log10().floor());
            let step = [0.1, 0.2, 0.5, 1.0, 2.0]
                .map(|part| part * decade)
                .into_iter()
                .find(|step| most / step <= 8.0)
                .unwrap_or(decade);
            let lines = (most / step) as usize + 1;
            (
                0.0,
                most * 1.12,
                (0..=lines).map(|i| i as f64 * step).collect(),
            )
        }
        Scale::Logarithmic => {
            // The shortest bar can be seen.
            let first = (least / 1.5).log10().floor();
            let decades = (most.log10() - first).ceil() as usize;
            let lines = (0..=decades).map(|i| 10f64.powf(first + i as f64));
            (10f64.powf(first), most * 3.0, lines.collect())
        }
    })
}

/// A range with its lines at given places. (`WithKeyPoints` of plotters cannot be formatted, of floats.)
struct Axis<R> {
    range: R,
    lines: Vec<f64>,
}

/// An axis of a range.
fn axis<C>(range: C, lines: Vec<f64>) -> Axis<C::CoordDescType>
where
    C: AsRangedCoord<Value = f64>,
{
    Axis {
        range: range.into(),
        lines,
    }
}

impl<R: Ranged<ValueType = f64>> Ranged for Axis<R> {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.range.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.lines.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.range()
    }
}

/// The picture of a chart.
pub(crate) fn svg(chart: &Chart) -> Result<String, String> {
    let (least, most, lines) = ends(chart)?;
    let lines: Vec<f64> = lines.into_iter().filter(|line| *line <= most).collect();
    let mut svg = String::new();
    let range = least..most;
    match chart.scale {
        Scale::Linear => draw(chart, axis(range, lines), &mut svg),
        Scale::Logarithmic => draw(chart, axis(range.log_scale(), lines), &mut svg),
    }
    .map_err(|e| format!("{}: {e}", chart.name))?;
    svg.push('\n');
    Ok(svg)
}

/// Draws a chart on a scale.
fn draw<R: Ranged<ValueType = f64>>(
    chart: &Chart,
    scale: Axis<R>,
    svg: &mut String,
) -> Result<(), Box<dyn Error>> {
    let row_height = chart.series.len() as u32 * BAR + GAP;
    let count = chart.rows.len();
    let labels = chart.rows.iter().map(|row| row.label.len()).max();
    let left = labels.unwrap_or(0) * LETTER + 24;
    let zero = scale.range().start;

    let root = SVGBackend::with_string(svg, (WIDTH, ABOVE + count as u32 * row_height + BELOW))
        .into_drawing_area();
    root.fill(&WHITE)?;
    root.draw_text(chart.title, &font(20), (16, 12))?;
    let mut x = left as i32;
    for (series, colour) in chart.series.iter().zip(COLOURS) {
        root.draw(&Rectangle::new([(x, 46), (x + 12, 58)], colour.filled()))?;
        root.draw_text(series, &font(14), (x + 18, 45))?;
        x += (series.len() * LETTER) as i32 + 48;
    }

    // The first row is at the top: each row is one unit, and rows count down from the top.
    let top = |row: usize| (count - row) as f64;
    let middles = (0..count).map(|row| top(row) - 0.5).collect();
    let mut context = ChartBuilder::on(&root)
        .margin_top(ABOVE)
        .margin_right(16)
        .set_label_area_size(LabelAreaPosition::Left, left as u32)
        .set_label_area_size(LabelAreaPosition::Bottom, BELOW)
        .build_cartesian_2d(scale, axis(0.0..count as f64, middles))?;
    context
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(FAINT)
        .label_style(font(14))
        .x_desc(chart.unit)
        .axis_desc_style(font(14))
        .x_label_formatter(&|value| thousands(*value))
        .y_label_formatter(&|middle| chart.rows[count - middle.ceil() as usize].label.clone())
        .draw()?;

    let pixel = 1.0 / f64::from(row_height);
    for (i, row) in chart.rows.iter().enumerate() {
        let bars = row.values.iter().zip(COLOURS);
        let bars = bars.filter_map(|(value, colour)| Some(((*value)?, colour)));
        // Those that there are stand in the middle of the row.
        let height = bars.clone().count() as u32 * BAR;
        let mut upper = top(i) - f64::from((row_height - height) / 2) * pixel;
        for (value, colour) in bars {
            let lower = upper - f64::from(BAR - 1) * pixel;
            let bar = Rectangle::new([(zero, upper), (value, lower)], colour.filled());
            context.draw_series([bar])?;
            let style = font(13).pos(Pos::new(HPos::Left, VPos::Center));
            let number = Text::new(thousands(value), (5, 0), style);
            context.draw_series([EmptyElement::at((value, (upper + lower) / 2.0)) + number])?;
            upper -= f64::from(BAR) * pixel;
        }
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charts::{tests::all, Row};

    fn chart(scale: Scale, values: &[f64]) -> Chart {
        let row = |value: &f64| Row {
            label: format!("<{value}> & more"),
            values: vec![Some(*value), None],
        };
        Chart {
            name: "name",
            title: "title",
            unit: "units",
            scale,
            series: vec!["one", "none"],
            rows: values.iter().map(row).collect(),
        }
    }

    #[test]
    fn all_labels_and_numbers_are_text() {
        for chart in all() {
            let svg = svg(&chart).unwrap();
            // Each text is on a line of its own.
            let text = |wanted: &str| svg.lines().any(|line| line == wanted);
            for row in &chart.rows {
                assert!(text(&row.label), "{}: {}", chart.name, row.label);
                for value in row.values.iter().flatten() {
                    assert!(text(&thousands(*value)), "{}: {value}", row.label);
                }
            }
            for series in chart.series {
                assert!(text(series), "{series}");
            }
            assert!(text(chart.title) && text(chart.unit));
            assert!(!svg.contains("<path") && !svg.contains("<image"));
        }
    }

    #[test]
    fn the_same_chart_gives_the_same_bytes() {
        for (one, other) in all().iter().zip(&all()) {
            assert_eq!(svg(one), svg(other));
        }
    }

    #[test]
    fn markup_in_a_label_is_text() {
        let svg = svg(&chart(Scale::Linear, &[5.0])).unwrap();
        assert!(svg.contains("&lt;5&gt; &amp; more"));
    }

    #[test]
    fn values_are_within_the_scale_and_the_shortest_bar_can_be_seen() {
        for values in [
            [1.0, 1.0],
            [7.0, 100_000.0],
            [104.0, 999.0],
            [100.0, 1000.0],
            [950.0, 960.0],
        ] {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let (least, most, lines) = ends(&chart(scale, &values)).unwrap();
                assert!(least < values[0] && values[1] < most, "{values:?}");
                assert!((2..=10).contains(&lines.len()), "{values:?}: {lines:?}");
                assert!(
                    scale == Scale::Linear || values[0] / least >= 1.5,
                    "{values:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        assert!(svg(&chart(Scale::Linear, &[])).is_err());
        assert!(svg(&chart(Scale::Linear, &[0.0])).is_err());
        assert!(svg(&chart(Scale::Logarithmic, &[0.0, 5.0])).is_err());
    }

    #[test]
    fn digits_are_in_threes() {
        let texts = [0.0, 999.4, 1000.0, 123_456.0, 1_234_567.0].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }
}
