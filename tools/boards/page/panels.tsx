// One component for each kind of panel, drawn by Grafana's where npm has it.

import { DataFrame, dateTime, getFieldDisplayValues, GrafanaTheme2, TimeRange } from '@grafana/data';
import { BigValue, TimeSeries, UPlotConfigBuilder, useTheme2 } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { useLayoutEffect } from 'react';

import { Answers, Panel as PanelModel, Prepared } from './frames';
import { Heatmap } from './heatmap';
import { drawMarks, readMarks } from './marks';

export interface PanelProps {
  panel: PanelModel;
  prepared: Prepared;
  answers: Answers;
  width: number;
  height: number;
}

export function Panel(props: PanelProps) {
  const { panel, prepared } = props;
  if (prepared.frames.every(({ length }) => length === 0) && panel.type !== 'stat') {
    return <Empty {...props} />;
  }
  switch (panel.type) {
    case 'timeseries':
      return <Lines {...props} />;
    case 'stat':
      return <Figure {...props} />;
    case 'table':
      return <Rows {...props} />;
    case 'heatmap':
      return <Heatmap {...props} range={findRange(props.answers)} />;
    default:
      throw new Error(`no component for ${panel.type}`);
  }
}

export function findRange({ start, end }: Answers): TimeRange {
  const [from, to] = [dateTime(start * 1000), dateTime(end * 1000)];
  return { from, to, raw: { from, to } };
}

function Empty({ panel, width, height }: PanelProps) {
  const { colors } = useTheme2();
  const style = { display: 'flex', alignItems: 'center', justifyContent: 'center' };
  return (
    <div style={{ ...style, width, height, color: colors.text.secondary }}>
      {panel.fieldConfig.defaults.noValue}
    </div>
  );
}

function Lines({ panel, prepared, answers, width, height }: PanelProps) {
  const theme = useTheme2();
  return (
    <TimeSeries
      frames={prepared.frames}
      timeRange={findRange(answers)}
      timeZone="browser"
      width={width}
      height={height}
      legend={panel.options.legend}
      options={panel.options}
    >
      {(builder) => <Marks {...{ builder, prepared, answers, theme }} />}
    </TimeSeries>
  );
}

interface MarksProps {
  builder: UPlotConfigBuilder;
  prepared: Prepared;
  answers: Answers;
  theme: GrafanaTheme2;
}

// Annotations and exemplars are plugins of Grafana's core, so these lines and points are ours.
function Marks({ builder, prepared, answers, theme }: MarksProps) {
  useLayoutEffect(() => {
    const marks = readMarks(answers, theme);
    builder.addHook('draw', (plot) => drawMarks(plot, marks, prepared.exemplars, theme));
  }, [builder]);
  return null;
}

function Figure({ panel, prepared, width, height }: PanelProps) {
  const theme = useTheme2();
  const { options, fieldConfig } = panel;
  const [found] = getFieldDisplayValues({
    fieldConfig: fieldConfig as any,
    reduceOptions: options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data: prepared.frames,
    sparkline: options.graphMode !== 'none',
  });
  return (
    <BigValue
      value={found.display}
      sparkline={found.sparkline}
      colorMode={options.colorMode}
      graphMode={options.graphMode}
      justifyMode={options.justifyMode}
      textMode={options.textMode}
      width={width}
      height={height}
      theme={theme}
    />
  );
}

function Rows({ panel, prepared, width, height }: PanelProps) {
  const [frame] = prepared.frames as [DataFrame];
  return (
    <TableNG
      data={frame}
      width={width}
      height={height}
      sortBy={panel.options.sortBy}
      cellHeight={panel.options.cellHeight}
      showTypeIcons={panel.options.showTypeIcons}
      noValue={panel.fieldConfig.defaults.noValue}
      fieldConfig={panel.fieldConfig as any}
      enableVirtualization={false}
      transparent={false}
    />
  );
}
