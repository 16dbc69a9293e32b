"""The base of every message, and the plain values that several messages share."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Timestamp = AwareDatetime
"""An instant. Always written in UTC; a value without an offset is refused."""


class Model(BaseModel):
    """Frozen; unknown fields are ignored, so that old readers accept new writers of the same major version."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Event(Model):
    """A fact in the past tense about one aggregate, with that aggregate's full state.

    The class name is the CloudEvents type. `version` counts the aggregate's states: a consumer applies a fact only
    if its version is higher than the one it has, so repeats, replays and late batches are harmless.
    """

    organization_id: str = Field(description="The platform's organization (church).")
    version: int = Field(ge=1, description="Grows with every state of the aggregate.")

    @property
    def key(self) -> str:
        """The aggregate's id: the Kafka key, in UTF-8."""
        return self.organization_id
