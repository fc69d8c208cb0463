/** How good the models are, measured on answers they gave before the truth was known. */

import { LineChart } from "../charts/line_chart";
import type { ModelEvaluation } from "../api/types";
import { decimals, integer } from "../format/number";
import { thin } from "../charts/scale";
import { toSeconds } from "../format/time";
import { words } from "../format/words";
import { useSelect } from "../state/store";
import { Empty, Loading, Panel, Unread } from "./panel";

const MOST_POINTS = 160;
const NAMES: Readonly<Record<string, string>> = { log_loss: "Log loss", brier: "Brier", calibration_error: "Calibration error" };

export function ModelQuality() {
  const evaluations = useSelect((state) => state.evaluations);
  const models = (evaluations.value ?? []).filter((model) => model.metrics["auc"] !== undefined);
  return (
    <Panel id="models" title="Model quality" about="predicted first, judged when the outcome is known" span={8} error={evaluations.value && evaluations.error}>
      {models.length > 0 ? (
        <div class="models">
          {models.map((model) => (
            <Model key={model.model} model={model} />
          ))}
        </div>
      ) : evaluations.value ? (
        <Empty title="No model has been judged yet">A churn label takes 30 days to become known. The first scores appear after that.</Empty>
      ) : evaluations.error ? (
        <Unread what="evaluations" why={evaluations.error} />
      ) : (
        <Loading what="evaluations" />
      )}
    </Panel>
  );
}

/** "churn" and "churn_model" are both "Churn model". */
function modelName(id: string): string {
  return `${words(id.replace(/_?model$/, ""))} model`;
}

function Model({ model }: { readonly model: ModelEvaluation }) {
  const auc = model.metrics["auc"];
  const points = model.history
    .filter((item) => item.metric === "auc")
    .map((item) => ({ at: toSeconds(item.as_of) ?? 0, value: item.value }))
    .sort((a, b) => a.at - b.at);
  const drawn = thin(points, MOST_POINTS);
  const low = Math.min(0.5, ...points.map((point) => Math.floor((point.value - 0.02) * 10) / 10));
  const others = Object.entries(model.metrics).filter(([name]) => NAMES[name]);
  return (
    <div>
      <div class="model-head">
        <div>
          <strong>{decimals(auc?.value, 3)}</strong> <span class="quiet">AUC, {modelName(model.model).toLowerCase()}</span>
        </div>
        <dl>
          {others.map(([name, metric]) => (
            <div key={name}>
              <dt>{NAMES[name]}</dt>
              <dd>{decimals(metric.value, 3)}</dd>
            </div>
          ))}
          <div>
            <dt>Judged</dt>
            <dd>{integer(auc?.n)} predictions</dd>
          </div>
          <div>
            <dt>Version</dt>
            <dd>{model.model_version}</dd>
          </div>
        </dl>
      </div>
      <LineChart points={drawn} height={150} label={`${modelName(model.model)}, AUC over time`} reference={{ value: 0.5, name: "chance" }} range={[Math.max(0, low), 1]} />
    </div>
  );
}
