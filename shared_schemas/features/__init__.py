"""Owns the one list of features. A third feature is one new file, its line here, and its door at the edge."""

from collections.abc import Mapping

from shared_schemas.feature import AnyFeature
from shared_schemas.features.plan import PLAN
from shared_schemas.features.risk import RISK

FEATURES: Mapping[str, AnyFeature] = {feature.name: feature for feature in (RISK, PLAN)}
