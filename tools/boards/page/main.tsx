// A board, drawn with Grafana's own panel components from answers that a Prometheus gave.
// Knows the page; how frames come from answers is in frames.ts, each kind of panel in panels.tsx.

import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import '@fontsource/roboto-mono/400.css';

import { createTheme, ThemeContext } from '@grafana/data';
import { GlobalStyles, Icon, PanelChrome, PortalContainer } from '@grafana/ui';
import { createRoot } from 'react-dom/client';

import { Answers, Panel as PanelModel, Prepared, prepare } from './frames';
import { Panel } from './panels';

declare global {
  interface Window {
    answers: Answers;
  }
}

const CELL = 30;
const GAP = 8;
const MARGIN = 16;
const COLUMNS = 24;
const WIDTH = 1400;
const HEADER = 92;

const theme = createTheme({ colors: { mode: 'dark' } });

function place({ x, y, w, h }: PanelModel['gridPos']) {
  const unit = (WIDTH - 2 * MARGIN + GAP) / COLUMNS;
  return {
    left: MARGIN + Math.round(x * unit),
    top: HEADER + y * (CELL + GAP),
    width: Math.round((x + w) * unit) - Math.round(x * unit) - GAP,
    height: h * (CELL + GAP) - GAP,
  };
}

function Variable({ name, value }: { name: string; value: string }) {
  const { colors, shape, spacing } = theme;
  const box = { padding: spacing(0, 1), height: 32, display: 'flex', alignItems: 'center' };
  return (
    <div style={{ display: 'flex', fontSize: 12, marginRight: 8 }}>
      <div
        style={{
          ...box,
          background: colors.background.secondary,
          border: `1px solid ${colors.border.weak}`,
          borderRight: 0,
          borderRadius: `${shape.radius.default} 0 0 ${shape.radius.default}`,
          fontWeight: 500,
        }}
      >
        {name}
      </div>
      <div
        style={{
          ...box,
          gap: 8,
          background: colors.background.canvas,
          border: `1px solid ${colors.border.medium}`,
          borderRadius: `0 ${shape.radius.default} ${shape.radius.default} 0`,
          fontSize: 13,
        }}
      >
        {value}
        <Icon name="angle-down" />
      </div>
    </div>
  );
}

function Header({ answers }: { answers: Answers }) {
  const { colors } = theme;
  const minutes = Math.round((answers.end - answers.start) / 60);
  const labels = Object.fromEntries(
    answers.board.templating.list.map((variable) => [variable.name, variable.label])
  );
  return (
    <div style={{ position: 'absolute', left: MARGIN, right: MARGIN, top: 14 }}>
      <div style={{ display: 'flex', alignItems: 'baseline', justifyContent: 'space-between' }}>
        <div style={{ fontSize: 18, fontWeight: 500 }}>{answers.board.title}</div>
        <div style={{ fontSize: 12, color: colors.text.secondary }}>
          {minutes} minutes of live data, drawn with Grafana&apos;s panel components; not a
          screenshot of a Grafana server
        </div>
      </div>
      <div style={{ display: 'flex', marginTop: 10 }}>
        <Variable name={labels['datasource']} value="Prometheus" />
        {Object.entries(answers.chosen).map(([name, value]) => (
          <Variable key={name} name={labels[name]} value={value} />
        ))}
      </div>
    </div>
  );
}

function Row({ panel }: { panel: PanelModel }) {
  const { left, top, width, height } = place(panel.gridPos);
  const style = { position: 'absolute', left, top, width, height, gap: 8 } as const;
  return (
    <div style={{ ...style, display: 'flex', alignItems: 'center', fontSize: 16, fontWeight: 500 }}>
      <Icon name="angle-down" />
      {panel.title}
    </div>
  );
}

function Board({ answers, prepared }: { answers: Answers; prepared: Map<number, Prepared> }) {
  const bottom = Math.max(...answers.board.panels.map(({ gridPos: { y, h } }) => y + h));
  const height = HEADER + bottom * (CELL + GAP) + MARGIN - GAP;
  return (
    <div id="board" style={{ position: 'relative', width: WIDTH, height }}>
      <Header answers={answers} />
      {answers.board.panels.map((panel) => {
        if (panel.type === 'row') {
          return <Row key={panel.id} panel={panel} />;
        }
        const { left, top, width, height } = place(panel.gridPos);
        return (
          <div key={panel.id} style={{ position: 'absolute', left, top, width, height }}>
            <PanelChrome
              title={panel.title}
              description={panel.description}
              width={width}
              height={height}
              padding={panel.type === 'table' ? 'none' : 'md'}
            >
              {(innerWidth, innerHeight) => (
                <Panel
                  panel={panel}
                  prepared={prepared.get(panel.id)!}
                  answers={answers}
                  width={innerWidth}
                  height={innerHeight}
                />
              )}
            </PanelChrome>
          </div>
        );
      })}
    </div>
  );
}

// Graphs are painted once, so their font must be there before.
async function show({ answers }: Window) {
  // "Some minutes ago" is seen from the end of the time range, whenever this is drawn.
  Date.now = () => answers.end * 1000;
  await Promise.all(['400 12px Inter', '500 12px Inter'].map((font) => document.fonts.load(font)));
  const prepared = new Map<number, Prepared>();
  for (const panel of answers.board.panels.filter(({ type }) => type !== 'row')) {
    prepared.set(panel.id, await prepare(panel, answers, theme));
  }
  document.body.style.background = theme.colors.background.canvas;
  createRoot(document.getElementById('root')!).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Board answers={answers} prepared={prepared} />
      <PortalContainer />
    </ThemeContext.Provider>
  );
}

void show(window);
