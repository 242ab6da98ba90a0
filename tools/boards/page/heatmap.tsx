// A heatmap in the look of Grafana's, whose own is not on npm. Axes are Grafana's; cells are ours.

import { formattedValueToString, getValueFormat, TimeRange } from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation } from '@grafana/schema';
import { UPlotChart, UPlotConfigBuilder, useTheme2 } from '@grafana/ui';
import { interpolateOranges } from 'd3-scale-chromatic';
import { useMemo } from 'react';
import type uPlot from 'uplot';

import type { PanelProps } from './panels';

const LEGEND = 34;

export function Heatmap({ panel, prepared, width, height, range }: PanelProps & { range: TimeRange }) {
  const theme = useTheme2();
  const { frames } = prepared;
  const most = Math.max(...frames.flatMap(({ fields }) => fields[1].values));
  const format = getValueFormat(panel.options.yAxis.unit);
  const bounds = frames.map(({ name }) => name!);
  const say = (bound: string) =>
    bound === '+Inf' ? '+Inf' : formattedValueToString(format(Number(bound)));
  // In the dark theme Grafana turns the scheme around: many is bright.
  const choose = (count: number) => interpolateOranges(1 - count / most);
  const builder = useMemo(() => {
    const made = new UPlotConfigBuilder();
    made.addScale({
      scaleKey: 'x',
      isTime: true,
      orientation: ScaleOrientation.Horizontal,
      direction: ScaleDirection.Right,
      range: [range.from.valueOf(), range.to.valueOf()],
    });
    made.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, theme, timeZone: 'browser' });
    made.addScale({
      scaleKey: 'y',
      orientation: ScaleOrientation.Vertical,
      direction: ScaleDirection.Up,
      range: [0, frames.length],
    });
    made.addAxis({
      scaleKey: 'y',
      placement: AxisPlacement.Left,
      theme,
      size: 60,
      splits: () => bounds.map((_, index) => index + 1).filter((index) => index % 2 === 0),
      formatValue: (value) => say(bounds[value - 1]),
    });
    made.addSeries({ scaleKey: 'y', theme, pathBuilder: () => null } as any);
    made.addHook('draw', (plot) => drawCells(plot));
    return made;
  }, []);

  function drawCells(plot: uPlot) {
    const { ctx } = plot;
    const step = frames[0].fields[0].config.interval!;
    ctx.save();
    ctx.beginPath();
    ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
    ctx.clip();
    frames.forEach(({ fields: [time, value] }, index) => {
      const [top, bottom] = [index + 1, index].map((y) => plot.valToPos(y, 'y', true));
      time.values.forEach((moment, at) => {
        const count = value.values[at];
        if (!(count > 1e-9)) {
          return;
        }
        const [left, right] = [moment - step, moment].map((x) => plot.valToPos(x, 'x', true));
        ctx.fillStyle = choose(count);
        ctx.fillRect(left + 0.5, top + 0.5, right - left - 1, bottom - top - 1);
      });
    });
    ctx.restore();
  }

  const shades = Array.from({ length: 11 }, (_, index) => choose((most * index) / 10));
  const empty = [range.from.valueOf(), range.to.valueOf()];
  return (
    <div style={{ width, height }}>
      <UPlotChart
        width={width}
        height={height - LEGEND}
        config={builder}
        data={[empty, [null, null]] as any}
      >
        {null}
      </UPlotChart>
      <div style={{ width: 220, margin: '4px 0 0 60px', fontSize: 12 }}>
        <div style={{ height: 8, background: `linear-gradient(90deg, ${shades.join(',')})` }} />
        <div style={{ display: 'flex', justifyContent: 'space-between' }}>
          <span>0</span>
          <span>{Math.round(most / 2)}</span>
          <span>{Math.round(most)} calls</span>
        </div>
      </div>
    </div>
  );
}
