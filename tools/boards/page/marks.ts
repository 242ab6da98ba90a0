// What lies over a graph: the board's annotations, and exemplars. Grafana's own are not on npm.

import { GrafanaTheme2 } from '@grafana/data';
import type uPlot from 'uplot';

import { Answers } from './frames';

export interface Mark {
  from: number;
  to: number;
  color: string;
}

const NEAR_SECONDS = 5;

// As Grafana's data source does it: moments above 0, and near ones are one.
export function readMarks({ board, annotations, start, end }: Answers, theme: GrafanaTheme2): Mark[] {
  const marks: Mark[] = [];
  for (const { name, iconColor, useValueForTime } of board.annotations.list) {
    const color = theme.visualization.getColorByName(iconColor);
    for (const { values } of annotations[name]) {
      let last: Mark | undefined;
      for (const [moment, value] of values!.filter(([, text]) => +text > 0)) {
        const at = useValueForTime ? +value / 1000 : moment;
        if (at < start || at > end) {
          continue;
        }
        if (last && at - last.to <= NEAR_SECONDS) {
          last.to = at;
        } else {
          marks.push((last = { from: at, to: at, color }));
        }
      }
    }
  }
  return marks;
}

export function drawMarks(
  plot: uPlot,
  marks: Mark[],
  exemplars: Array<[number, number]>,
  theme: GrafanaTheme2
): void {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  const findX = (moment: number) => plot.valToPos(moment * 1000, 'x', true);
  ctx.save();
  for (const { from, to, color } of marks) {
    const [left, right] = [findX(from), findX(to)];
    ctx.fillStyle = ctx.strokeStyle = color;
    ctx.lineWidth = ratio;
    ctx.setLineDash([5 * ratio, 5 * ratio]);
    ctx.beginPath();
    for (const x of new Set([left, right])) {
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
    }
    ctx.stroke();
    const bottom = bbox.top + bbox.height;
    if (right > left) {
      ctx.fillRect(left, bottom, right - left, 4 * ratio);
      ctx.globalAlpha = 0.08;
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.globalAlpha = 1;
    } else {
      ctx.beginPath();
      ctx.moveTo(left, bottom);
      ctx.lineTo(left - 4 * ratio, bottom + 5 * ratio);
      ctx.lineTo(left + 4 * ratio, bottom + 5 * ratio);
      ctx.fill();
    }
  }
  ctx.setLineDash([]);
  const scale = plot.series[1]?.scale;
  if (scale !== undefined) {
    ctx.fillStyle = theme.visualization.getColorByName('blue');
    for (const [moment, value] of exemplars) {
      const [x, y] = [findX(moment), plot.valToPos(value, scale, true)];
      if (y < bbox.top) {
        continue;
      }
      const size = 3.5 * ratio;
      ctx.beginPath();
      ctx.moveTo(x, y - size);
      ctx.lineTo(x + size, y);
      ctx.lineTo(x, y + size);
      ctx.lineTo(x - size, y);
      ctx.fill();
    }
  }
  ctx.restore();
}
