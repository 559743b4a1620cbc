"""All use of private TensorFlow and Keras, which may change without notice.

The rest of the package uses their public interfaces only; a test over its syntax checks that. Each function here says
what it relies on and what to do when that is gone, and has a test in tests/model/test_internals.py. After an upgrade of
TensorFlow or Keras, the tests that fail name the functions to mend, all of them in this package.
"""

from __future__ import annotations

from .keras_compiled import compile_apart as compile_apart
from .keras_compiled import compiled_as as compiled_as
from .keras_compiled import metric_of as metric_of
from .keras_compiled import output_losses as output_losses
from .keras_private import KerasScopes as KerasScopes
from .keras_private import adopt_variable as adopt_variable
from .keras_private import auto_named as auto_named
from .keras_private import clear_losses as clear_losses
from .keras_private import flat_layers as flat_layers
from .keras_private import fresh_names as fresh_names
from .keras_private import input_structure as input_structure
from .keras_private import isolated_keras_state as isolated_keras_state
from .keras_private import keras_mask as keras_mask
from .keras_private import make_concrete as make_concrete
from .keras_private import optimizer_slots as optimizer_slots
from .keras_private import output_spec as output_spec
from .keras_private import own_losses as own_losses
from .keras_private import raw_variable as raw_variable
from .keras_private import rename as rename
from .keras_private import set_keras_mask as set_keras_mask
from .keras_private import set_raw_variable as set_raw_variable
from .keras_private import snake_case as snake_case
from .keras_private import sublayers as sublayers
from .keras_private import swapped_values as swapped_values
from .keras_seeds import keras_owner as keras_owner
from .keras_seeds import reseed as reseed
from .keras_seeds import seeded_initial_value as seeded_initial_value
from .keras_seeds import seeds_changed as seeds_changed
from .tensorflow_private import BackgroundExecutor as BackgroundExecutor
from .tensorflow_private import Nested as Nested
from .tensorflow_private import all_operations as all_operations
from .tensorflow_private import captured_variables as captured_variables
from .tensorflow_private import constants_for_variables as constants_for_variables
from .tensorflow_private import eager_seed as eager_seed
from .tensorflow_private import external_captures as external_captures
from .tensorflow_private import failure_of as failure_of
from .tensorflow_private import is_generator_state as is_generator_state
from .tensorflow_private import is_unlifted as is_unlifted
from .tensorflow_private import names_in_checkpoint as names_in_checkpoint
from .tensorflow_private import quick_call as quick_call
from .tensorflow_private import replica_values as replica_values
from .tensorflow_private import scratch_graph as scratch_graph
from .tensorflow_private import summary_writer as summary_writer
from .tensorflow_private import trace as trace
from .tensorflow_private import was_made_in_function as was_made_in_function
