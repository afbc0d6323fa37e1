from __future__ import annotations

import numpy as np
import pytest
import torch

from optimize.reference import TorchReference, in_bfloat16


@pytest.mark.parametrize("case", ["image_case", "text_case"])
def test_bfloat16_answers_nearly_as_the_original_which_stays_as_it_was(case, request):
    case = request.getfixturevalue(case)
    batch = case.preprocessor.collate(case.rows)
    before = TorchReference(case.model)(batch)

    narrow = in_bfloat16(case.model)
    answer = TorchReference(narrow)(batch)

    assert answer.dtype == np.float32
    assert {parameter.dtype for parameter in narrow.parameters()} == {torch.bfloat16}
    np.testing.assert_allclose(answer, before, atol=0.1, rtol=0.1)
    assert (answer != before).any()
    np.testing.assert_array_equal(TorchReference(case.model)(batch), before)
