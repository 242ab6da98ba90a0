// Frames as Grafana's Prometheus data source makes them, with the panel's field options applied.
// Matchers, transformations and displays are Grafana's own; nothing here draws.

import {
  cacheFieldDisplayNames,
  createDataFrame,
  DataFrame,
  Field,
  FieldConfig,
  fieldMatchers,
  FieldType,
  getDisplayProcessor,
  GrafanaTheme2,
  standardTransformers,
  standardTransformersRegistry,
  ThresholdsMode,
  transformDataFrame,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';

type Labels = Record<string, string>;
type Sample = [number, string];

export interface Series {
  metric: Labels;
  values?: Sample[];
  value?: Sample;
}

export interface Answer {
  step: number;
  series: Series[];
  exemplars: Array<[number, number]>;
}

interface Target {
  refId: string;
  legendFormat?: string;
  format?: string;
}

interface Property {
  id: string;
  value: unknown;
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  description: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets: Target[];
  options: any;
  transformations?: Array<{ id: string; options: any }>;
  fieldConfig: {
    defaults: FieldConfig;
    overrides: Array<{ matcher: { id: string; options: unknown }; properties: Property[] }>;
  };
}

export interface Answers {
  board: {
    title: string;
    panels: Panel[];
    templating: { list: Array<{ name: string; label: string }> };
    annotations: { list: Array<{ name: string; iconColor: string; useValueForTime?: boolean }> };
  };
  start: number;
  end: number;
  answers: Record<string, Record<string, Answer>>;
  annotations: Record<string, Series[]>;
  chosen: Record<string, string>;
}

export interface Prepared {
  frames: DataFrame[];
  exemplars: Array<[number, number]>;
}

standardTransformersRegistry.setInit(() =>
  [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer].map(
    (transformation) => ({ ...transformation, transformation: async () => transformation }) as any
  )
);

export async function prepare(
  panel: Panel,
  answers: Answers,
  theme: GrafanaTheme2
): Promise<Prepared> {
  const given = answers.answers[panel.title];
  let frames: DataFrame[] = [];
  for (const target of panel.targets) {
    const answer = given[target.refId];
    if (target.format === 'table') {
      frames.push(...makeTable(target, answer, panel.targets.length));
    } else if (target.format === 'heatmap') {
      frames.push(...splitBuckets(answer));
    } else {
      frames.push(...answer.series.map((series) => makeSeries(target, answer, series)));
    }
  }
  frames = await lastValueFrom(transformDataFrame(panel.transformations ?? [], frames));
  applyOptions(panel, frames, theme);
  return { frames, exemplars: panel.targets.flatMap(({ refId }) => given[refId].exemplars) };
}

const readNumber = (text: string) => (text === 'NaN' ? NaN : text === '+Inf' ? Infinity : +text);

function makeSeries(target: Target, answer: Answer, series: Series): DataFrame {
  const samples = series.values ?? [series.value!];
  const legend = (target.legendFormat ?? '').replace(
    /\{\{\s*(.+?)\s*\}\}/g,
    (_, label) => series.metric[label] ?? ''
  );
  return createDataFrame({
    refId: target.refId,
    name: legend,
    fields: [
      {
        name: 'Time',
        type: FieldType.time,
        values: samples.map(([moment]) => moment * 1000),
        config: { interval: answer.step * 1000 },
      },
      {
        name: 'Value',
        type: FieldType.number,
        labels: series.metric,
        values: samples.map(([, value]) => readNumber(value)),
        config: { displayNameFromDS: legend },
      },
    ],
  });
}

function makeTable(target: Target, { series }: Answer, targets: number): DataFrame[] {
  if (series.length === 0) {
    return [];
  }
  const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return [
    createDataFrame({
      refId: target.refId,
      fields: [
        {
          name: 'Time',
          type: FieldType.time,
          values: series.map(({ value }) => value![0] * 1000),
        },
        ...labels.map((label) => ({
          name: label,
          type: FieldType.string,
          values: series.map(({ metric }) => metric[label] ?? ''),
          config: { filterable: true },
        })),
        {
          name: targets === 1 ? 'Value' : `Value #${target.refId}`,
          type: FieldType.number,
          values: series.map(({ value }) => readNumber(value![1])),
        },
      ],
    }),
  ];
}

// Prometheus' buckets count everything below their bound; Grafana draws what is between two.
function splitBuckets(answer: Answer): DataFrame[] {
  const sorted = [...answer.series].sort(
    (one, other) => readNumber(one.metric.le) - readNumber(other.metric.le)
  );
  const below = new Map<number, number>();
  return sorted.map((series) => {
    const frame = makeSeries({ refId: 'A', legendFormat: '{{le}}' }, answer, series);
    const [time, value] = frame.fields;
    value.values = time.values.map((moment, index) => {
      const all = value.values[index];
      const own = Math.max(0, all - (below.get(moment) ?? 0));
      below.set(moment, all);
      return own;
    });
    return frame;
  });
}

function applyOptions(panel: Panel, frames: DataFrame[], theme: GrafanaTheme2): void {
  const { defaults, overrides } = panel.fieldConfig;
  cacheFieldDisplayNames(frames);
  let seriesIndex = 0;
  for (const frame of frames) {
    for (const field of frame.fields) {
      const config: any = {
        // What Grafana assumes where a panel says nothing.
        thresholds: { mode: ThresholdsMode.Absolute, steps: [{ value: -Infinity, color: 'green' }] },
        ...structuredClone(defaults),
        ...field.config,
        custom: { ...structuredClone(defaults.custom) },
      };
      for (const { matcher, properties } of overrides) {
        if (fieldMatchers.get(matcher.id).get(matcher.options)(field, frame, frames)) {
          properties.forEach((property) => setProperty(config, property));
        }
      }
      for (const step of config.thresholds.steps) {
        step.value ??= -Infinity;
      }
      field.config = config;
      if (field.type === FieldType.number) {
        const [min, max] = [Math.min, Math.max].map((pick) =>
          pick(...field.values.filter(Number.isFinite))
        );
        const range = { min, max, delta: max - min };
        field.state = { ...field.state, seriesIndex: seriesIndex++, range };
      }
      field.display = getDisplayProcessor({ field: field as Field, theme, timeZone: 'browser' });
      // Without addresses there are no links to follow, but they look like links.
      field.getLinks = () =>
        (config.links ?? []).map((link: { title: string }) => ({ ...link, href: '#', origin: field }));
    }
  }
}

function setProperty(config: any, { id, value }: Property): void {
  const [name, sub] = id.split('.');
  if (sub === undefined) {
    config[name] = structuredClone(value);
  } else {
    config.custom[sub] = structuredClone(value);
  }
}
