"""Which settings DeepSpeed allows together, which it ignores, and which need something: one table.

Each rule has an id (it stands in the results), a condition, a reason in the user's words and the
source of the knowledge. "source" means read in, "run" means tried on DeepSpeed 0.19.8.
"""

from sweeper.core.rules.forbidden import FORBIDDEN
from sweeper.core.rules.ignored import IGNORED, OWN_VALUES
from sweeper.core.rules.kinds import Forbidden, Ignored, Needs
from sweeper.core.rules.needs import NEEDS

__all__ = ["FORBIDDEN", "IGNORED", "NEEDS", "OWN_VALUES", "Forbidden", "Ignored", "Needs"]
