from __future__ import annotations

import numpy as np
import pytest
import torch

from optimize.reference import TorchReference, narrowed


@pytest.mark.parametrize("case", ["image_case", "text_case"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrowed_model_answers_nearly_as_the_original_which_stays_as_it_was(case, dtype, request):
    case = request.getfixturevalue(case)
    batch = case.preprocessor.collate(case.rows)
    before = TorchReference(case.model)(batch)

    narrow = narrowed(case.model, dtype)
    answer = TorchReference(narrow)(batch)

    assert answer.dtype == np.float32
    assert {parameter.dtype for parameter in narrow.parameters()} == {dtype}
    np.testing.assert_allclose(answer, before, atol=0.1, rtol=0.1)
    assert (answer != before).any()
    np.testing.assert_array_equal(TorchReference(case.model)(batch), before)
