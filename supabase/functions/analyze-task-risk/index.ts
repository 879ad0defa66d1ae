import { liveServices } from "../_shared/live_services.ts";
import { riskDoor } from "../_shared/risk_door.ts";
import { serveFeature } from "../_shared/serve_feature.ts";

Deno.serve(serveFeature(riskDoor, liveServices));
