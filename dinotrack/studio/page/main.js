// Puts the page together. Each module reacts to the store (state.js) by itself.

import "./sync.js";
import "./player.js";
import "./draw.js";
import "./tools.js";
import "./keys.js";
import "./timeline.js";
import "./lanes.js";
import "./curves.js";
import "./points.js";
import "./steps.js";
import "./fit.js";
import "./looks.js";
import "./mend.js";
import "./take.js";
import "./bar.js";
import "./focus.js";
import { begin } from "./start.js";
import { change, state } from "./state.js";
import { begin as beginTheme } from "./theme.js";

beginTheme();
change({ ...state }); // every module shows the beginning
begin();
